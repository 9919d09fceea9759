"""What a layout is made of: the int8 files of one target of a bundle, its tokenizer and its preprocessing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conaclip_edge.bundle.integrity import check_members
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.data.preprocess import Preprocess, read_preprocess
from conaclip_edge.errors import UserError
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.open_tower import suffixes_of

LICENCE = "LICENSE.md"


@dataclass(frozen=True)
class Source:
    """A bundle whose int8 files are what its manifest says.

    Attributes:
        bundle: its folder.
        target: whose files the layout is made of: onnx, executorch or coreml.
        manifest: of it.
        preprocess: what the student was trained on.
        tokenizer: as the text tower needs it.
    """

    bundle: Path
    target: str
    manifest: Manifest
    preprocess: Preprocess
    tokenizer: TextTokenizer

    @property
    def image(self) -> Path:
        """The image tower: pixel_values float32 [batch or 1, 3, size, size] in 0..1 to embedding float32 [.., d]."""
        return self._tower("image")

    @property
    def text(self) -> Path:
        """The text tower: input_ids int32 [batch, length] to embedding float32 [batch, d]."""
        return self._tower("text")

    def _tower(self, name: str) -> Path:
        return self.bundle / self.target / f"{name}.int8{suffixes_of(self.target)[0]}"

    def token(self, number: int) -> str:
        """Return the text of a token."""
        return str(self.tokenizer.tokenizer.id_to_token(number))

    def tokenizer_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        content: dict[str, Any] = json.loads(self.tokenizer.content)
        return content


def open_source(bundle: Path, target: str) -> Source:
    """Open a bundle for a layout.

    Args:
        bundle: its folder.
        target: whose int8 files the layout is made of.

    Raises:
        UserError: no bundle, no int8 files for the target, files that were changed, or texts of one length alone.
    """
    manifest = read_manifest(bundle)
    source = Source(
        bundle,
        target,
        manifest,
        read_preprocess(bundle / "preprocess.json", manifest.image_size),
        TextTokenizer(bundle / "tokenizer.json", manifest.context),
    )
    if not (source.image.exists() and source.text.exists()):
        raise UserError(
            f"bundle {bundle} has no int8 files for {target}, of which this layout is made. "
            f"Add them: conaclip-edge export --target {target} --out {bundle}"
        )
    check_members(
        bundle,
        manifest.model_dump(mode="json"),
        [source.image, source.text, bundle / "tokenizer.json", bundle / "preprocess.json"],
    )
    if manifest.fixed_length:
        raise UserError(
            f"bundle {bundle} has a text tower that takes texts of exactly {manifest.context} ids (SigLIP's), which "
            "these clients do not give. Distil a student of it, whose text tower is CLIP's."
        )
    return source
