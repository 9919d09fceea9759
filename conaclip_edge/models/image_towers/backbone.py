"""What every kind of image tower gives: a backbone from normalised pixels to features."""

from __future__ import annotations

from torch import Tensor, nn

from conaclip_edge.errors import UserError


class Backbone(nn.Module):
    """The part of an image tower that its kind decides: normalised pixels [B, 3, H, W] to features [B, features].

    A kind writes `__init__` and `forward` and sets `features`; the rest fits most kinds as it is.

    Attributes:
        features: width of what `forward` gives; a learned projection to the embedding follows. 0: `forward` gives the
            embedding itself.
        channels_last: the memory format of the pixels; convolutions are faster in it.
        pretrained: whether `start_pretrained` has weights to load.
        frozen_blocks: how many of the first blocks keep their weights.
    """

    features: int = 0
    channels_last: bool = True
    pretrained: bool = False
    frozen_blocks: int = 0

    def first(self, pixels: Tensor) -> Tensor:
        """Run the part that keeps its weights on normalised pixels [B, 3, H, W]."""
        return pixels

    def rest(self, x: Tensor) -> Tensor:
        """Run what follows that part; gives features [B, features]."""
        features: Tensor = self(x)
        return features

    def freeze(self, blocks: int) -> None:
        """Let the first blocks keep their weights.

        Raises:
            UserError: this kind of tower cannot.
        """
        raise UserError("student.freeze_blocks needs a mobile image tower that starts from pretrained weights.")

    def start_pretrained(self) -> int:
        """Load the weights that come with this kind.

        Returns:
            How many weights were loaded: 0, for most kinds come with none.

        Raises:
            UserError: the weights do not fit the shape of this backbone, or their package is not installed.
        """
        return 0
