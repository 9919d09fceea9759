"""OpenCLIP checkpoints whose towers OpenCLIP itself builds: ConvNeXt, MobileCLIP, SigLIP, CoCa, and the like.

The library builds the model by the checkpoint's own config and takes its weights from safetensors. Nothing is fetched,
and nothing is unpickled.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from conaclip_edge.errors import NotInstalled, UserError
from conaclip_edge.models.teacher.base import Teacher, check_finite
from conaclip_edge.models.teacher.loading import one_line, use
from conaclip_edge.models.teacher.openclip.layout import KNOWN, OpenClipCheckpoint
from conaclip_edge.models.teacher.openclip.tokenizer import clip_tokenizer, named_tokenizer
from conaclip_edge.models.teacher.parts import name_of
from conaclip_edge.models.teacher.tokenizer_json import student_tokenizer_file
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.models.transformers_folder import OPEN_CLIP_CONFIG
from conaclip_edge.system.extras import extras_needed
from conaclip_edge.system.files import read_json

_TOKENIZER_KEYS = ("clean", "strip_sep_token")


class OpenClipTeacher(Teacher):
    """A dual encoder that OpenCLIP builds, with OpenCLIP's own preprocessing and tokenizer.

    Args:
        checkpoint: of OpenCLIP.
        source: of the teacher, for errors.

    Raises:
        NotInstalled: OpenCLIP is not there.
        UserError: it knows no such towers, or config, weights and tokenizer do not fit each other.
    """

    kind = "open_clip"

    def __init__(self, checkpoint: OpenClipCheckpoint, source: str):
        super().__init__()
        config = teacher_config(checkpoint, source)
        open_clip = _library()
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.model: Any = _build(open_clip, config, source).eval()
        use("weights", source, lambda: open_clip.load_checkpoint(self.model, str(checkpoint.weights), strict=True))
        steps = PreprocessCfg(**{**checkpoint.preprocess, "size": self.model.visual.image_size})
        self.transform: Any = use("config", source, lambda: image_transform_v2(steps, is_train=False))
        self.context = int(checkpoint.text.get("context_length", 77))
        own = named_tokenizer if checkpoint.text.get("hf_tokenizer_name") else clip_tokenizer
        tokenizer = own(checkpoint, source)
        self.tokenizer: Any = use("tokenizer", source, lambda: _tokenizer(open_clip, checkpoint, self.context))
        self.name, self.fingerprint = name_of(source), checkpoint.fingerprint
        self.freeze()
        text = use("text tower", source, lambda: self.embed_texts(["a"]))
        picture = use("image tower", source, lambda: self.embed_pictures([Image.new("RGB", (48, 32))]))
        check_finite(text, picture, source)
        self.embed_dim = int(text.shape[-1])
        self.tokenizer_file = student_tokenizer_file(tokenizer, checkpoint.folder, f"teacher {source}")

    def pixels(self, pictures: list[Image.Image]) -> Tensor:
        """Turn upright RGB pictures into normalised pixels [n, 3, H, W]."""
        return torch.stack([self.transform(picture) for picture in pictures])

    def tokens(self, texts: list[str], full: bool = False) -> Tensor:
        """Turn texts into ids [n, context]: OpenCLIP's text towers take whole contexts alone."""
        ids: Tensor = self.tokenizer([whole_text(text) for text in texts])
        return ids

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Map pixels to unit vectors [n, embed_dim]."""
        embedding: Tensor = self.model.encode_image(pixels, normalize=True)
        return embedding

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Map ids to unit vectors [n, embed_dim]."""
        embedding: Tensor = self.model.encode_text(tokens, normalize=True)
        return embedding

    def token_table(self) -> Tensor:
        """Return the text tower's token embeddings [vocabulary, width]."""
        text = getattr(self.model, "text", self.model)
        table = text.token_embedding if hasattr(text, "token_embedding") else text.transformer.get_input_embeddings()
        weight: Tensor = table.weight
        return weight


def _library() -> Any:
    """Import OpenCLIP."""
    try:
        with extras_needed():
            import open_clip
    except RuntimeError as error:  # of a torchvision that was built for another PyTorch
        raise NotInstalled(
            f"OpenCLIP cannot be imported ({one_line(error)}). Install the torchvision of the same release and build "
            "as PyTorch (CPU or CUDA), from the same place."
        ) from error
    return open_clip


def teacher_config(checkpoint: OpenClipCheckpoint, source: str) -> dict[str, Any]:
    """Return model_cfg such that building it fetches nothing.

    Args:
        checkpoint: of OpenCLIP.
        source: of the teacher, for errors.

    Raises:
        UserError: a tower could only be fetched.
    """
    config = deepcopy(checkpoint.model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    vision["timm_model_pretrained"] = text["hf_model_pretrained"] = False
    for key in ("timm_model_name", "hf_model_name"):
        name = (vision if key.startswith("timm") else text).get(key)
        if isinstance(name, str) and ":" in name:
            raise UserError(f"teacher {source}: {key} '{name}' would be fetched from elsewhere. Known towers: {KNOWN}.")
    if text.get("hf_model_name"):
        _check_text_config(checkpoint, source)
        text["hf_model_name"] = str(checkpoint.folder)
    return config


def _check_text_config(checkpoint: OpenClipCheckpoint, source: str) -> None:
    """Check that the config.json beside the weights is that of the text tower, which OpenCLIP would fetch by name."""
    from transformers import CONFIG_MAPPING

    file, name = checkpoint.folder / "config.json", checkpoint.text["hf_model_name"]
    content = read_json(file, "text tower's config") if file.is_file() else {}
    kind = content.get("model_type") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise UserError(
            f"teacher {source}: its text tower is {name} of transformers, whose config.json is not beside its "
            f"{OPEN_CLIP_CONFIG}, and would be fetched. Put the config.json of {name} there."
        )


def _build(open_clip: Any, config: dict[str, Any], source: str) -> Any:
    """Build the model with random weights, by the class that OpenCLIP takes for such a config."""
    custom = config.pop("custom_text", False) or config["text_cfg"].get("hf_model_name")
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    try:
        return (open_clip.CoCa if "multimodal_cfg" in config else kind)(**config)
    except Exception as error:  # what a key that it does not know raises differs with the tower
        raise UserError(
            f"teacher {source}: OpenCLIP {open_clip.__version__} cannot build its towers: {one_line(error)}. Known "
            f"towers: {KNOWN}."
        ) from error


def _tokenizer(open_clip: Any, checkpoint: OpenClipCheckpoint, context: int) -> Any:
    """Make OpenCLIP's own tokenizer; the files of one of transformers lie in the folder."""
    from open_clip.tokenizer import HFTokenizer

    given = checkpoint.text.get("tokenizer_kwargs") or {}
    options = {key: given[key] for key in _TOKENIZER_KEYS if key in given}
    if not checkpoint.text.get("hf_tokenizer_name"):
        return open_clip.SimpleTokenizer(context_length=context, **options)
    mode = checkpoint.text.get("tokenizer_mode")
    offline = {"trust_remote_code": False, "local_files_only": True}
    return HFTokenizer(str(checkpoint.folder), context, tokenizer_mode=mode, **options, **offline)
