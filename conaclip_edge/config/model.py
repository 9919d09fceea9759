"""The student of a recipe: the shapes of its towers and its vocabulary."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from conaclip_edge.config.base import Config, Growing

Resize = Literal["crop", "squash"]
Resample = Literal["bicubic", "bilinear"]


class ImageTowerConfig(Growing):
    """A student's (or the joined teacher's) image tower.

    `vit` is transformers' CLIP vision tower, `siglip` its SigLIP vision tower, `transformers` any vision model of it.
    `mobile` is a chain of inverted residual
    blocks with batch norm and ReLU6 (no squeeze-excite), whose stages are (expand, channels, repeats, kernel, stride).
    `models/image_towers/kinds.py` lists all kinds.
    """

    later: ClassVar[frozenset[str]] = frozenset({"resize", "resample", "backbone", "backbone_config"})

    kind: str = Field("vit", description="vit, siglip, mobile or transformers")
    size: int = Field(224, description="side of the picture in pixels")
    resize: Resize = Field(
        "crop", description="crop: shorter side to size, then the centre; squash: both sides to size"
    )
    resample: Resample = Field("bicubic", description="filter of the resize, antialiased")
    mean: tuple[float, float, float] = Field(
        (0.48145466, 0.4578275, 0.40821073), description="of each colour, taken off inside the tower"
    )
    std: tuple[float, float, float] = Field((0.26862954, 0.26130258, 0.27577711), description="of each colour")
    width: int = Field(384, description="vit: hidden width; mobile: channels of the stem")
    layers: int = Field(12, description="vit: transformer layers")
    heads: int = Field(6, description="vit: attention heads")
    mlp: int = Field(1536, description="vit: width inside a layer's MLP")
    patch: int = Field(16, description="vit: side of a patch in pixels")
    activation: str = Field("gelu", description="vit: gelu or quick_gelu")
    layer_norm_eps: float = Field(1e-5, description="vit: added to the variance")
    stages: tuple[tuple[int, int, int, int, int], ...] = Field(
        (), description="mobile: expand, channels, repeats, kernel and stride of each stage"
    )
    head_width: int = Field(0, description="mobile: channels of the last 1x1 convolution; 0 leaves it out")
    backbone: str = Field(
        "", description="in a recipe: folder of a vision model of transformers, which the tower becomes and starts from"
    )
    backbone_config: dict[str, Any] = Field({}, description="transformers: config.json of its model, filled in")


class TextTowerConfig(Growing):
    """A text tower: transformers' CLIP text tower, causal, pooled at the first EOS; or SigLIP's.

    SigLIP's was trained on texts padded to the context, sees all of them without a mask, and is pooled at the last
    position: a text always has `context` ids.
    """

    later: ClassVar[frozenset[str]] = frozenset({"kind"})

    kind: Literal["clip", "siglip"] = Field("clip", description="causal and pooled at EOS, or SigLIP's")
    width: int = Field(512, description="hidden width")
    layers: int = Field(4, description="transformer layers")
    heads: int = Field(8, description="attention heads")
    mlp: int = Field(2048, description="width inside a layer's MLP")
    context: int = Field(77, description="ids of a text at most")
    activation: str = Field("quick_gelu", description="gelu or quick_gelu")
    layer_norm_eps: float = Field(1e-5, description="added to the variance")
    vocab_size: int = Field(49408, description="rows of the token table; a student takes its tokenizer's")
    eos_id: int = Field(49407, description="id that ends a text; a student takes its tokenizer's")
    pad_id: int = Field(49407, description="id that may follow it; a student takes its tokenizer's")


class ModelConfig(Config):
    """The shape of a dual encoder: everything needed to build it before its weights are loaded."""

    image: ImageTowerConfig = ImageTowerConfig()
    text: TextTowerConfig = TextTowerConfig()
    embed_dim: int = 512


class VocabConfig(Config):
    """Vocabulary pruning: which rows of the teacher's token table the student keeps."""

    keep: Literal["all", "corpus"] = Field("all", description="all pieces, or those of the train captions")
    frequent: int = Field(0, ge=0, description="also keep the first so many ids (lists are ordered by frequency)")
    near: int = Field(0, ge=0, description="also keep so many words, those that mean most alike to the captions")


class StudentConfig(Config):
    """A student preset and what to change in it."""

    preset: str = Field("mobile", description="a name that `conaclip-edge presets` lists")
    image: dict[str, Any] = Field(default_factory=dict, description="keys of ImageTowerConfig to change")
    text: dict[str, Any] = Field(default_factory=dict, description="keys of TextTowerConfig to change")
    embed_dim: int | None = Field(None, description="must equal the teacher's; the default is the teacher's")
    init_image: str = Field(
        "auto",
        description="'auto' (what the preset names), 'none', 'inherit' (kind vit: the layers, heads and channels of a "
        "CLIP teacher that matter most), or a folder of weights",
    )
    init_text: str = Field(
        "auto",
        description="'auto' (token table and first layers of the teacher), 'none', 'inherit', or an earlier student's "
        "folder",
    )
    freeze_blocks: int = Field(0, ge=0, description="mobile: stem and first blocks that keep their pretrained weights")
    vocab: VocabConfig = VocabConfig()
