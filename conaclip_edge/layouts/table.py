"""The table of layouts: folders as apps that exist load them, and the module that writes each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from conaclip_edge.errors import unknown
from conaclip_edge.system.extras import extras_needed

_HERE = "conaclip_edge.layouts.clients"


@dataclass(frozen=True)
class Layout:
    """One client, and what makes the folder that it loads.

    Attributes:
        name: on the command line.
        client: what loads the folder, with the version or commit whose code was read.
        module: of `function`.
        function: `write(source, folder)`, which fills an empty folder and returns how the client feeds it; of a
            student, `write(student, folder)`, which compares the two itself.
        made_of: "bundle" for its int8 files, "student" for the float weights of a checkpoint.
        target: of a bundle, whose int8 files.
    """

    name: str
    client: str
    module: str
    function: str = "write"
    made_of: Literal["bundle", "student"] = "bundle"
    target: str = "onnx"

    @extras_needed()
    def writer(self) -> Callable[..., Any]:
        """Import and return the function that writes the layout.

        Raises:
            NotInstalled: it needs a package that is not installed.
        """
        write: Callable[..., Any] = getattr(import_module(self.module), self.function)
        return write


_GALLERIES = f"{_HERE}.gallery_apps"
_PHONES = f"{_HERE}.iphone_apps"
_LAYOUTS = (
    Layout("transformers-js", "transformers.js 4.3.2", f"{_HERE}.transformers_js"),
    Layout("huggingface", "transformers 5, sentence-transformers 6.2", f"{_HERE}.huggingface", made_of="student"),
    Layout("immich", "immich's machine learning, 0538dd7", f"{_HERE}.immich"),
    Layout("uform", "UForm 3, 1427634", f"{_HERE}.uform"),
    Layout("words-and-files", "onnxruntime with onnxruntime-extensions 0.15.2", f"{_HERE}.words_and_files"),
    Layout("tidy", "TIDY, eb4aed4", _GALLERIES, "write_tidy"),
    Layout("smartscan", "SmartScan's SDK, 14c1388", _GALLERIES, "write_smartscan"),
    Layout("picquery", "PicQuery, 6737558", _GALLERIES, "write_picquery"),
    Layout(
        "react-native-executorch",
        "react-native-executorch 0.10, 81c22d5",
        f"{_HERE}.react_native_executorch",
        target="executorch",
    ),
    Layout("mobileclip-ios", "ml-mobileclip's iOS app, 4144bb1", _PHONES, "write_mobileclip", target="coreml"),
    Layout("queryable", "Queryable, b95a05a", _PHONES, "write_queryable", target="coreml"),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _LAYOUTS}


def find_layout(name: str) -> Layout:
    """Return the row of the table with a name.

    Raises:
        UserError: there is none; names those that there are.
    """
    if name not in LAYOUTS:
        raise unknown("layout", name, LAYOUTS)
    return LAYOUTS[name]
