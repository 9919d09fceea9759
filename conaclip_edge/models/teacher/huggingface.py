"""Teachers that are dual encoders of transformers: CLIP, SigLIP, MetaCLIP 2, Chinese-CLIP and the like."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.base import Teacher, check_finite
from conaclip_edge.models.teacher.loading import use
from conaclip_edge.models.teacher.parts import SIGLIP, Parts, no_dual_encoder, read_parts
from conaclip_edge.models.teacher.tokenizer_json import lower_case, student_tokenizer_file
from conaclip_edge.models.tokenizer import whole_text


class TransformersTeacher(Teacher):
    """A transformers dual encoder with its own tokenizer, image processor and pooling.

    Args:
        source: a folder, or the hub name of a model; for errors alone, where there are parts.
        parts: the model, where it was read already.

    Raises:
        UserError: as `read_parts`; or its tokenizer, its towers and its tables do not fit each other.
    """

    def __init__(self, source: str, parts: Parts | None = None):
        super().__init__()
        parts = parts or read_parts(source)
        self.name, self.kind, self.fingerprint = parts.name, parts.model_type, parts.fingerprint
        self.model: Any = parts.model
        self.tokenizer: Any = parts.tokenizer
        self.image_processor: Any = parts.image_processor
        if parts.model_type in SIGLIP:
            lower_case(self.tokenizer)
        self.context = _context(self.model, self.tokenizer)
        self.padding = _padding(parts.model_type, self.context)
        self.tokenizer.padding_side = "right"  # on the left, padding would move a text's positions
        self.freeze()
        if len(self.tokenizer) > len(self.token_table()):
            raise UserError(
                f"teacher {source}: its tokenizer has {len(self.tokenizer)} tokens, its token table only "
                f"{len(self.token_table())} rows. Use the tokenizer files that belong to these weights."
            )
        self.embed_dim = self._try_out(source)
        self.tokenizer_file = student_tokenizer_file(self.tokenizer, parts.folder, f"teacher {source}")

    def pixels(self, pictures: list[Image.Image]) -> Any:
        """Turn upright RGB pictures into the image tower's keywords."""
        return dict(self.image_processor(images=pictures, return_tensors="pt"))

    def tokens(self, texts: list[str], full: bool = False) -> Any:
        """Turn texts into the text tower's keywords, padded to the longest or the context."""
        padding = self.padding | ({"padding": "max_length"} if full else {})
        words = [whole_text(text) for text in texts]
        return dict(self.tokenizer(words, return_tensors="pt", **padding))

    def encode_pixels(self, pixels: Any) -> Tensor:
        """Map the image tower's keywords to unit vectors [n, embed_dim]."""
        return F.normalize(self.model.get_image_features(**pixels).pooler_output, dim=-1)

    def encode_tokens(self, tokens: Any) -> Tensor:
        """Map the text tower's keywords to unit vectors [n, embed_dim]."""
        return F.normalize(self.model.get_text_features(**tokens).pooler_output, dim=-1)

    def token_table(self) -> Tensor:
        """Return the text tower's token embeddings [vocabulary, width]."""
        table: Tensor = self.model.text_model.get_input_embeddings().weight
        return table

    def text_layers(self) -> dict[str, Tensor]:
        """Return a CLIP text tower's weights and projection by CLIPTextModelWithProjection's names, else nothing."""
        weights: dict[str, Tensor] = self.model.state_dict() if self.kind == "clip" else {}
        return {name: value for name, value in weights.items() if name.startswith(("text_model.", "text_projection."))}

    def _try_out(self, source: str) -> int:
        """Run both towers once; returns the width of their common space."""
        text = use("text tower", source, lambda: self.embed_texts(["a"]))
        picture = use("image tower", source, lambda: self.embed_pictures([Image.new("RGB", (48, 32))]))
        if text.shape != picture.shape:
            widths = f"its texts become {text.shape[-1]} numbers, its pictures {picture.shape[-1]}"
            raise no_dual_encoder(source, widths)
        check_finite(text, picture, source)
        return int(text.shape[-1])


def _context(model: Any, tokenizer: Any) -> int:
    """The largest number of ids that both the tokenizer and the position table allow."""
    positions = getattr(model.config.text_config, "max_position_embeddings", None)
    for name, module in model.text_model.named_modules():
        # RoBERTa and its kin count positions from behind the padding id.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            positions = module.num_embeddings - module.padding_idx - 1
    return int(min(tokenizer.model_max_length, positions or tokenizer.model_max_length))


def _padding(model_type: str, context: int) -> dict[str, Any]:
    """Arguments for the tokenizer: how texts of a batch are brought to one length."""
    if model_type in SIGLIP:
        return {"padding": "max_length", "max_length": context, "truncation": True, "return_attention_mask": False}
    return {"padding": True, "max_length": context, "truncation": True, "return_attention_mask": True}
