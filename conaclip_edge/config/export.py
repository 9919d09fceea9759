"""Export targets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conaclip_edge.config.base import Config


class ExportConfig(Config):
    """What to export and what the files must keep: an export target file.

    `conaclip_edge.export.targets` has the table of targets and checks target, precision and backend against it.
    """

    target: str = Field("onnx", description="onnx, executorch, coreml or coreai")
    precision: Literal["int8", "fp16", "fp32"] = Field("int8", description="of weights and activations: see below")
    backend: str = Field("xnnpack", description="executorch only: the delegate, xnnpack or coreml")
    opset: int = Field(
        23, description="onnx only; int8 from 23 on asks for onnxruntime 1.23 on the phone, and is faster"
    )
    batch: Literal[1, "dynamic"] = Field(
        1, description="onnx only: pictures per call; accelerators of phones need 1, dynamic takes any number"
    )
    deployment: Literal["iOS17", "iOS18"] = Field("iOS17", description="coreml only: minimum deployment target")
    activations: Literal["float", "int8"] = Field(
        "float", description="coreml int8 only: W8, or W8A8 for the Neural Engine"
    )
    text_lengths: tuple[int, ...] = Field(
        (8, 16, 32), description="coreml, coreai: enumerated lengths beside the context"
    )
    text_shape: Literal["enumerated", "range"] = Field("enumerated", description="coreml, coreai")
    image_input: Literal["tensor", "image"] = Field("tensor", description="coreml only: float tensor or image type")
    smoothing: float = Field(0.5, ge=0, le=1, description="SmoothQuant's alpha for int8; 0 turns it off")
    float_layers: int = Field(0, ge=0, description="keep so many of the most sensitive layers in float")
    calibration_pairs: int = Field(320, ge=300, description="train pairs that calibration sees, at most")
    gate_pairs: int = Field(1000, gt=0, description="held-out pictures that the gate runs the file on, at most")
    min_cosine: float = Field(0.999, description="gate: mean cosine to the float student, each tower")
    min_relative_recall: float = Field(
        0.99, description="gate: share of the float student's mean recall, each direction"
    )
