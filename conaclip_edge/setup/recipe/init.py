"""`init`: looks at data, teacher and machine, and writes a recipe that fits all three."""

from __future__ import annotations

import shlex

import psutil

from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.config.load import distill_recipe
from conaclip_edge.distill.graph import expand, without_pairs
from conaclip_edge.errors import UserError
from conaclip_edge.setup.data_summary import some_captions, summarise
from conaclip_edge.setup.recipe.measure import device_name, step_seconds, try_teacher
from conaclip_edge.setup.recipe.notes import LEAST, notes
from conaclip_edge.setup.recipe.plan import choose, cost_of, within
from conaclip_edge.setup.recipe.report import InitReport, Machine
from conaclip_edge.setup.recipe.request import DEMO_TEACHER, Request
from conaclip_edge.setup.recipe.text import name_of, recipe_text
from conaclip_edge.system.files import atomic_file
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import say

LEAST_USABLE = 8  # pictures: of fewer, no split is left to measure on


def write_recipe(request: Request) -> InitReport:
    """Look at data and teacher, time both models for some seconds, and write the recipe.

    Raises:
        UserError: no usable picture, too few of them, or a teacher that cannot be opened.
    """
    say(f"init: reading {request.data.path}")
    data, pairs = summarise(request.data)
    if data.pictures < LEAST_USABLE:
        raise UserError(f"{request.data.path} has {data.pictures} pictures; a student needs {LEAST} captioned ones.")
    say(f"init: trying {request.teacher}")
    teacher = try_teacher(request.teacher, request.teacher_is_made, some_captions(pairs, 500))
    device = device_name()
    gpu = device != "CPU"
    plan = choose(data, teacher, gpu)
    shape, texts = plan.shape(teacher.embed_dim), plan.texts_per_step()
    step = step_seconds(shape, plan.batch_size, texts, teacher.caption_ids, plan.freeze_blocks)
    plan = within(plan, step, gpu)
    cost = cost_of(plan, data, teacher, step)
    memory_free = psutil.virtual_memory().available
    terms = () if plan.labelled else without_pairs(expand(GraphConfig()), f"{data.name} has no captions")
    with atomic_file(request.out) as temporary:
        text = recipe_text(request.out, request.data, data, teacher, plan, terms)
        temporary.write_text(text, "utf-8")
        distill_recipe(temporary, [])  # what was written is what `distill` reads
    name = name_of(data)
    first = () if teacher.made else (f"conaclip-edge train-teacher --out {DEMO_TEACHER}",)
    measure = (f"conaclip-edge evaluate runs/{name}",) if plan.labelled else ()
    return InitReport(
        recipe=str(request.out),
        data=data,
        teacher=teacher,
        machine=Machine(device=device, cores=available_cores(), memory_free_bytes=memory_free),
        plan=plan,
        cost=cost,
        notes=tuple(notes(data, teacher, plan, cost, None if gpu else memory_free)),
        next_commands=(
            *first,
            f"conaclip-edge distill {shlex.quote(str(request.out))}",
            *measure,
            f"conaclip-edge export runs/{name} --target all",
        ),
    )
