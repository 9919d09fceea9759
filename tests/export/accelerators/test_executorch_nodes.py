"""The nodes that delegates of phones take of an ExecuTorch program."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conaclip_edge.export.accelerators.executorch_nodes import executorch_accelerators


class _Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.cumsum(torch.relu(self.linear(x)), 1)
        return y


def test_what_a_delegate_does_not_take_is_named_and_what_cannot_be_opened_is_not_checked() -> None:
    found = {one.name: one for one in executorch_accelerators(_Counted(), torch.zeros(1, 4), None)}
    assert list(found) == ["Core ML MLProgram", "QNN", "Vulkan"]
    coreml, vulkan = found["Core ML MLProgram"], found["Vulkan"]
    assert coreml.taken == coreml.nodes > 0
    assert vulkan.left == ("aten.cumsum.default",)
    assert vulkan.taken == vulkan.nodes - 1
    qnn = found["QNN"]
    assert qnn.taken is not None or qnn.reason == (
        "its partitioner needs the vendor's SDK (Qualcomm AI Engine Direct), which is not installed here"
    )
