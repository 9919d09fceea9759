"""Plain ViTs in OpenCLIP's layout, and OpenCLIP's embeddings of some texts and `pictures()`, as files.

`python -m tests.helpers.models.openclip_layouts --write` made them, where OpenCLIP is installed.
"""

from __future__ import annotations

from pathlib import Path

from tests.helpers.models.tiny_tokenizers import CAPTIONS

PLAIN_FOLDER = Path(__file__).parent / "openclip"
LAYOUTS = ("vit", "quickgelu", "text-apart")
EXPECTED = "expected.safetensors"
CONTEXT = 16
TEXTS = [*CAPTIONS, "a cat and two dogs " * 20, "Snake_case, a “quoted” word."]
