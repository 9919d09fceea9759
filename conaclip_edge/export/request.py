"""What `export` is asked for, checked before anything large is imported or read."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.load import data_config
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.folder import RECORD, check_checkpoint


def check_request(checkpoint: Path, data: Path | None) -> DataConfig | None:
    """Check the arguments of an export.

    Args:
        checkpoint: folder of a student, or of a model that is exported as it is.
        data: recipe or picture folder; None takes the data that the student was distilled on.

    Returns:
        The data that were given, with their format; None for those of the student's record.

    Raises:
        UserError: no such model, one that cannot be exported, no such data, or none given for a model whose own are
            not known.
    """
    check_checkpoint(checkpoint)
    if data:
        return data_config(data)
    if not (checkpoint / RECORD).is_file():
        raise UserError(
            f"{checkpoint} has no record of a distillation, so nothing says which pictures to calibrate and check its "
            "files with. Pass --data FOLDER (pictures with captions) or --data RECIPE."
        )
    return None
