"""The axis graph: every term there is takes part, and each graph's steps are timed on the same rows."""

from __future__ import annotations

from conaclip_edge.benchmarks.speed.axes import graph_step as graph
from conaclip_edge.distill.embeddings import LEARNING_TYPES
from conaclip_edge.distill.supervisions import losses_for
from conaclip_edge.distill.trainer import Trainer


def test_the_whole_graph_has_every_supervision_of_every_learning_type() -> None:
    terms = graph.every_term()
    edges = {edge for edges in LEARNING_TYPES.values() for edge in edges}
    assert {term.edge for term in terms} >= edges
    symmetric = [term for term in terms if term.loss.startswith("sym")]
    assert len(symmetric) == 6
    assert len(terms) == sum(
        len([loss for loss in losses_for(name) if not loss.startswith("sym")]) * len(edges)
        for name, edges in LEARNING_TYPES.items()
    ) + len(symmetric)


def test_each_graph_is_timed_on_the_same_rows(settings, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[int, ...]] = []
    embed = Trainer.embed

    def seen(self, model, inputs, queue):
        asked.append(tuple(inputs.picture_ids.tolist()))
        return embed(self, model, inputs, queue)

    monkeypatch.setattr(Trainer, "embed", seen)
    times = graph.run_graphs(settings(batch_size=8), 3, 0)
    assert set(times) == {"all edges and supervisions", "conaclip", "infonce"}
    assert all(len(one.cpu) == len(one.wall) == 3 and (one.wall > 0).all() for one in times.values())
    assert all(len({*asked[start : start + 3]}) == 1 for start in range(0, len(asked), 3))
    assert len({*asked}) == 3  # two untimed rounds see the first one's
