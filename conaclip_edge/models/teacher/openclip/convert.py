"""From OpenCLIP's plain ViTs to folders of transformers' CLIP, which `export` also takes as they are."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.converted import ConvertReport
from conaclip_edge.models.teacher.huggingface import TransformersTeacher
from conaclip_edge.models.teacher.openclip.layout import read_checkpoint
from conaclip_edge.models.teacher.openclip.plain_vit import plain_vit_parts
from conaclip_edge.system.files import atomic_folder, write_json
from conaclip_edge.system.products import TEACHER, check_out


def convert(folder: Path, out: Path) -> ConvertReport:
    """Convert a checkpoint folder of OpenCLIP and try the result out.

    Args:
        folder: holds open_clip_config.json and safetensors.
        out: gets a CLIPModel with its tokenizer and image processor.

    Raises:
        UserError: its towers are not those of transformers' CLIP, or its parts do not fit each other.
    """
    checkpoint = read_checkpoint(folder, str(folder))
    if reason := checkpoint.not_plain():
        raise UserError(
            f"{folder} does not convert: transformers' CLIP has no {reason}. It teaches as it is: conaclip-edge init "
            f"PICTURES --teacher {folder}"
        )
    if out.resolve() == folder.resolve():
        raise UserError(f"--out {out} is the checkpoint's own folder, which would be replaced. Choose another one.")
    check_out(out, TEACHER)
    parts = plain_vit_parts(checkpoint, str(folder))
    with atomic_folder(out, TEACHER) as target:
        for part in (parts.model, parts.tokenizer, parts.image_processor):
            part.save_pretrained(target)
        teacher = TransformersTeacher(str(target))
        # by it the next conversion knows that the folder may be replaced
        write_json(target / "converted.json", {"from": "OpenCLIP", "model_type": "open_clip"})
    count = sum(parameter.numel() for parameter in parts.model.parameters())
    return ConvertReport(teacher=out, model_type="clip", embed_dim=teacher.embed_dim, parameters=count, unused=())
