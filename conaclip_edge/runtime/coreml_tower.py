"""Core ML packages: run by Core ML on a Mac, elsewhere by the reference interpreter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.mil.inputs import InputSpec, check_inputs, input_specs
from conaclip_edge.runtime.mil.package import import_coremltools, read_package
from conaclip_edge.runtime.tower import Executed, Tower

Predict = Callable[[np.ndarray], np.ndarray]


class CoremlTower:
    """A tower in a .mlpackage; a batch that the program does not take runs one after the other.

    Attributes:
        executed: "native" if Core ML runs the file, "reference" if the interpreter does.
        lengths: enumerated text lengths in rising order, None for a range and for pictures.
        input: what the package declares of its input.
    """

    executed: Executed
    lengths: tuple[int, ...] | None

    def __init__(self, path: Path, name: str, spec: InputSpec, predict: Predict, executed: Executed) -> None:
        self.path = path
        self.executed = executed
        self.input = spec
        texts = spec.dtype == "int32" and bool(spec.shapes)
        self.lengths = tuple(sorted({shape[1] for shape in spec.shapes})) if texts else None
        self._name = name
        self._predict = predict

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map pixel_values float32 [B, 3, H, W] in [0, 1] or input_ids int32 [B, L] to unit vectors float32 [B, d].

        Errors: UserError for values of a shape or type that the package does not take.
        """
        if self.input.image is not None:
            values = values * np.float32(255)
        whole = self.input.accepts(values.shape)
        batches = [values] if whole or len(values) == 0 else np.split(values, len(values))
        return np.concatenate([self._predict(self._checked(batch)) for batch in batches])

    def _checked(self, values: np.ndarray) -> np.ndarray:
        return check_inputs({self._name: self.input}, {self._name: values}, str(self.path))[self._name]


def open_coreml(path: Path, threads: int) -> Tower:
    """Load a .mlpackage with one input and one output.

    Args:
        path: the package.
        threads: of the interpreter; Core ML chooses for itself.

    Errors: UserError for a broken package, more inputs or outputs, and no coremltools.
    """
    description = read_package(path)[0].description
    specs = input_specs(description, str(path))
    if len(specs) != 1 or len(description.output) != 1:
        raise UserError(f"{path}: has {len(specs)} inputs and {len(description.output)} outputs; a tower has one each.")
    ((name, spec),) = specs.items()
    output = description.output[0].name
    if sys.platform == "darwin":
        return CoremlTower(path, name, spec, _native(path, name, spec, output), "native")
    from conaclip_edge.runtime.mil.tower import reference

    return CoremlTower(path, name, spec, reference(path, name, output, threads), "reference")


def _native(path: Path, name: str, spec: InputSpec, output: str) -> Predict:
    model = import_coremltools().models.MLModel(str(path))

    def predict(values: np.ndarray) -> np.ndarray:
        given: Any = values if spec.image is None else _picture(values, spec)
        # Core ML may use the memory of an output again in the next call
        return np.array(model.predict({name: given})[output], dtype=np.float32, copy=True)

    return predict


def _picture(values: np.ndarray, spec: InputSpec) -> Any:
    """Make the picture that Core ML takes of checked values [1, 3, H, W] in 0..255."""
    from PIL import Image

    rgb = values[:, ::-1] if spec.image == "BGR" else values
    return Image.fromarray(rgb[0].transpose(1, 2, 0).astype(np.uint8))
