"""A recipe as commented YAML."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.graph import Term
from conaclip_edge.setup.data_summary import DataSummary
from conaclip_edge.setup.recipe.measure import TeacherSummary
from conaclip_edge.setup.recipe.plan import Plan

_COLUMN = 44  # where comments begin


def recipe_text(
    out: Path, data: DataConfig, found: DataSummary, teacher: TeacherSummary, plan: Plan, terms: Sequence[Term]
) -> str:
    """Write a recipe.

    Args:
        out: its file, for the command in the first comment.
        data: the data section.
        found: what the data hold.
        teacher: whom the student learns from.
        plan: the choices.
        terms: of the graph; () takes the preset.
    """
    name = name_of(found)
    return "\n".join(
        [
            f"# A student for phones from {_comment(found.name)}",
            f"# {found.pictures:,} pictures, {found.captions:,} captions",
            "#",
            f"#   conaclip-edge distill {_comment(shlex.quote(str(out)))}",
            f"#   conaclip-edge export runs/{name} --target all",
            "#",
            "# Each key may be changed here, or for one run: --set train.steps=1000",
            _line(f"name: {_text(name)}", f"the checkpoint is runs/{name}"),
            _line("seed: 0"),
            _line(f"teacher: {_text(teacher.source)}"),
            f"  # {_comment(teacher.type)}, {teacher.parameters:,} parameters, embeddings of {teacher.embed_dim}",
            *_data(data, plan),
            *_student(plan, teacher),
            *_graph(terms),
            *_synthetic(plan),
            *_train(plan),
            "",
        ]
    )


def name_of(found: DataSummary) -> str:
    """Return a name for the student: that of the data's folder, in letters that no shell takes for anything else."""
    return re.sub(r"[\W_]+", "-", Path(found.path or found.name).stem.lower()).strip("-") or "student"


def _data(data: DataConfig, plan: Plan) -> list[str]:
    lines = ["data:", _line(f"  format: {data.format}", "found by what lies there"), f"  path: {_text(str(data.path))}"]
    if plan.max_bad > 0.01:
        lines.append(_line(f"  max_bad: {plan.max_bad}", "share of broken pictures that ends the run"))
    return lines


def _student(plan: Plan, teacher: TeacherSummary) -> list[str]:
    lines = [
        "student:",
        _line(
            f"  preset: {plan.preset}", f"about {plan.parameters / 1e6:.1f} M parameters; others: conaclip-edge presets"
        ),
    ]
    if plan.image_size:
        lines.append(_line(f"  image: {{size: {plan.image_size}}}", "pixels; 224 finds more and takes twice as long"))
    if plan.context:
        lines.append(_line(f"  text: {{context: {plan.context}}}", "the teacher reads no longer texts"))
    if plan.freeze_blocks:
        lines.append(
            _line(f"  freeze_blocks: {plan.freeze_blocks}", "of few pictures, the first blocks keep their weights")
        )
    if plan.frequent < teacher.vocabulary:
        why = "pieces of the captions, and so many of the most frequent ones"
        lines.append(_line(f"  vocab: {{keep: corpus, frequent: {plan.frequent}}}", why))
    return lines


def _graph(terms: Sequence[Term]) -> list[str]:
    if not terms:
        return ["graph:", _line("  preset: conaclip")]
    lines = ["graph:", _line("  terms:", "those of conaclip that need no captions")]
    for term in terms:
        keys = {"edge": term.edge, "loss": term.loss, "weight": term.weight, "temperature": term.temperature}
        lines.append("    - {" + ", ".join(f"{key}: {value}" for key, value in keys.items() if value is not None) + "}")
    return lines


def _synthetic(plan: Plan) -> list[str]:
    if not plan.synthetic_texts:
        return []
    why = "phrases of caption and vocabulary words: the teacher says what they mean"
    return ["synthetic:", _line(f"  texts: {plan.synthetic_texts}", why)]


def _train(plan: Plan) -> list[str]:
    epochs = plan.steps * plan.batch_size / max(1, plan.pictures)
    lines = [
        "train:",
        _line(f"  steps: {plan.steps}", f"each of {plan.pictures:,} train pictures about {epochs:.0f} times"),
        _line(f"  batch_size: {plan.batch_size}"),
    ]
    if plan.unpaired:
        lines.append(_line(f"  unpaired: {plan.unpaired}", "share of a batch without captions"))
    if plan.unpaired_texts is not None:
        lines.append(_line(f"  unpaired_texts: {plan.unpaired_texts}", "of the phrases per step"))
    if plan.views > 1:
        lines.append(_line(f"  teacher_views: {plan.views}", "augmentations per picture"))
    if plan.bf16:
        lines.append("  bf16: true")
    why = "then the image tower loses a tenth of its weights and learns int8; null leaves it as it is"
    lines.append(_line(f"  qat: {{steps: {plan.int8_steps}}}", why))
    return [*lines, "  lr: 0.001", _line(f"  eval_every: {plan.eval_every}", "steps between two looks at val")]


def _line(text: str, comment: str = "") -> str:
    return f"{text:<{_COLUMN}}# {comment}" if comment else text


def _text(value: str) -> str:
    """Write a text so that YAML reads the same one."""
    return value if re.fullmatch(r"[A-Za-z/][\w./-]*", value) and value.lower() not in _WORDS else json.dumps(value)


_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")  # that YAML takes for other values


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
