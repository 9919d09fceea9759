"""What to know before a run: what is few, broken, unread by the teacher, or cannot be measured."""

from __future__ import annotations

from collections.abc import Iterator

from conaclip_edge.models.certainty import LEAST_PICTURES
from conaclip_edge.setup.data_summary import DataSummary
from conaclip_edge.setup.recipe.measure import TeacherSummary
from conaclip_edge.setup.recipe.plan import Cost, Plan
from conaclip_edge.setup.recipe.request import DEMO_TEACHER, EXAMPLE

LEAST = 60  # captioned pictures that give a student whose recall can be distinguished from chance
HARDLY_KNOWN = 0.9  # ids per letter; a tokenizer that knows a script has 0.2 to 0.7


def notes(data: DataSummary, teacher: TeacherSummary, plan: Plan, cost: Cost, memory_free: int | None) -> Iterator[str]:
    """Yield what to know, a sentence or two each.

    Args:
        data: what the student learns from.
        teacher: whom it learns from.
        plan: the choices of the recipe.
        cost: of the run.
        memory_free: bytes of the machine's memory; None where the student trains on a GPU with memory of its own.
    """
    yield from _data_notes(data, plan)
    yield from _teacher_notes(teacher)
    if plan.parameters > teacher.parameters:
        yield (
            f"The student ({plan.parameters:,} parameters) is larger than its teacher ({teacher.parameters:,}). "
            "Take a larger teacher."
        )
    if memory_free is not None and cost.memory_bytes > memory_free:
        yield (
            f"The run takes about {cost.memory_bytes / 1e9:.1f} GB of memory, of which {memory_free / 1e9:.1f} GB are "
            "free. Lower train.batch_size."
        )


def _data_notes(data: DataSummary, plan: Plan) -> Iterator[str]:
    if not data.captioned:
        yield (
            "No picture has a caption: the student learns the teacher's answers for pictures and for made-up phrases. "
            "Recall of captions cannot be measured, neither on val nor by export's gate or a report; on val stands how "
            "often the student's picture finds the teacher's. Captions of some held-out pictures would measure it."
        )
    elif data.captioned < LEAST:
        yield (
            f"{data.captioned} captioned pictures are few: {LEAST} are the least that give a student whose recall can "
            "be distinguished from chance."
        )
    counts = {name: data.captioned_splits[name] for name in ("val", "test")}
    few = [f"{count} in {name}" for name, count in counts.items() if count < LEAST_PICTURES]
    if data.captioned and few:
        held_out = f"Captioned pictures that are held out: {' and '.join(few)} are too few"
        yield f"{held_out} to tell a good model from a poor one."
    if plan.max_bad > 0.01:
        yield (
            f"About {data.broken_share:.1%} of the pictures cannot be used; the recipe allows {plan.max_bad:.0%} "
            "(data.max_bad). Mend them, or leave it so."
        )


def _teacher_notes(teacher: TeacherSummary) -> Iterator[str]:
    if teacher.ids_per_letter > HARDLY_KNOWN:
        yield (
            f"The teacher's tokenizer writes the captions in other scripts with {teacher.ids_per_letter:.1f} ids per "
            "letter: it hardly knows these scripts. Take a teacher for them: SigLIP 2, AltCLIP or Chinese-CLIP."
        )
    if teacher.cut_captions > 0.05:
        yield (
            f"{teacher.cut_captions:.0%} of the captions are longer than the teacher's {teacher.context} ids: it reads "
            "their beginning alone."
        )
    if not teacher.made or teacher.source.endswith(str(DEMO_TEACHER)):
        yield f"The demo's teacher has learned the names of emoji; for photos take a CLIP, e.g. --teacher {EXAMPLE}."
