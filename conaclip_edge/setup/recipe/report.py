"""What `init` gives: what it found, what it chose, and what comes next."""

from __future__ import annotations

from conaclip_edge.models.student.presets import PRESETS
from conaclip_edge.setup.data_summary import DataSummary, data_text
from conaclip_edge.setup.recipe.measure import TeacherSummary
from conaclip_edge.setup.recipe.plan import Cost, Plan
from conaclip_edge.system.result import Result


class Machine(Result):
    """What the student trains on; bytes of memory that are free now."""

    device: str
    cores: int
    memory_free_bytes: int


class InitReport(Result):
    """What `init` found, and the recipe that it wrote.

    Attributes:
        recipe: its file.
        data: what the student learns from.
        teacher: whom it learns from.
        machine: where it was measured.
        plan: the choices.
        cost: what the run takes, about.
        notes: what to know before the run.
        next_commands: in their order.
    """

    recipe: str
    data: DataSummary
    teacher: TeacherSummary
    machine: Machine
    plan: Plan
    cost: Cost
    notes: tuple[str, ...]
    next_commands: tuple[str, ...]


def init_text(report: InitReport) -> str:
    """Write for a terminal what was found and what comes next."""
    teacher, plan, cost, machine = report.teacher, report.plan, report.cost, report.machine
    size = plan.image_size or PRESETS[plan.preset].image.size
    made = "" if teacher.made else " (which is still to be made)"
    lines = [
        *data_text(report.data),
        f"teacher: {teacher.source}{made}",
        f"  {teacher.type}, {teacher.parameters:,} parameters, embeddings of {teacher.embed_dim} numbers, texts of "
        f"{teacher.context} ids",
        f"machine: {machine.device}, {machine.cores} {'core' if machine.cores == 1 else 'cores'}, "
        f"{machine.memory_free_bytes / 1e9:.1f} GB of memory free",
        f"student: {plan.preset} at {size} pixels, about {plan.parameters / 1e6:.1f} M parameters, "
        f"{plan.steps:,} steps of {plan.batch_size}",
        f"  time: about {_duration(cost.teacher_seconds)} for the teacher's answers, once; about "
        f"{_duration(cost.training_seconds)} of training",
        f"  memory: about {cost.memory_bytes / 1e9:.1f} GB; disk: about {max(0.1, cost.disk_bytes / 1e9):.1f} GB",
        *(f"note: {note}" for note in report.notes),
        f"recipe: {report.recipe}",
        "Next:",
        *(f"  {command}" for command in report.next_commands),
    ]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
