"""The repairs of coremltools' torch front end: needed, enough, and absent for other versions."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conaclip_edge.export.coreml.torch_patches import apply_patches
from conaclip_edge.runtime.mil.package import import_coremltools

ct = import_coremltools()
logging.getLogger("coremltools").setLevel(logging.ERROR)

from coremltools.converters.mil.frontend.torch import ops  # noqa: E402 - after the quiet import above
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as registry  # noqa: E402


class HalfOfTheLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        return x * torch.arange(length)[: length // 2 + 1].sum()


class Alias(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.alias(x) * 2


def traced(model: nn.Module, x: Tensor) -> Any:
    return torch.jit.trace(model, (x,))


def exported(model: nn.Module, x: Tensor) -> Any:
    return torch.export.export(model, (x,)).run_decompositions({})


def convert(source: Any, x: Tensor) -> Any:
    declared = [ct.TensorType(name="x", shape=tuple(x.shape))]
    return ct.convert(source, inputs=declared, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)


@pytest.fixture
def pristine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the repairs for the time of a test."""
    if ops._cast.__module__ != ops.__name__:
        from conaclip_edge.export.coreml import torch_patches as _coreml_patches

        monkeypatch.setattr(ops, "_cast", _coreml_patches._ORIGINAL["cast"])
    monkeypatch.delitem(registry.name_to_func_mapping, "alias", raising=False)


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize(
    ("source", "failure"),
    [
        (lambda x: traced(HalfOfTheLength(), x), "only 0-dimensional arrays can be converted"),
        (lambda x: exported(Alias(), x), "alias"),
    ],
)
def test_conversion_needs_the_repairs_and_works_with_them(
    source: Any, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.ones(1, 5, 3)
    with pytest.raises((TypeError, NotImplementedError), match=failure):
        convert(source(x), x)
    monkeypatch.setattr(ops, "_cast", ops._cast)  # so that the repair is undone after the test
    apply_patches()
    apply_patches()
    assert convert(source(x), x).get_spec().WhichOneof("Type") == "mlProgram"


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize(("module", "version"), [(ct, "9.1"), (np, "2.3.9")])
def test_other_versions_are_left_alone(module: Any, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cast = ops._cast
    monkeypatch.setattr(module, "__version__", version)
    apply_patches()
    assert ops._cast is cast
    assert (registry.get_func("alias") is None) == (module is ct)
    registry.name_to_func_mapping.pop("alias", None)
