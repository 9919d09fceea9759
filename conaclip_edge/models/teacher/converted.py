"""What a conversion to a teacher's folder says of its result."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.system.result import Result


class ConvertReport(Result):
    """What a checkpoint was converted to.

    Attributes:
        teacher: folder of the teacher.
        model_type: of the checkpoint.
        embed_dim: of the embeddings.
        parameters: of the model.
        unused: the checkpoint's tensors that no embedding depends on.
    """

    teacher: Path
    model_type: str
    embed_dim: int
    parameters: int
    unused: tuple[str, ...]
