"""The parts of export-ready towers: plain linear layers, explicit attention, folded convolutions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.errors import unknown

Pool = Callable[[Tensor], Tensor]  # picks one row [B, 1, width] of rows [B, L, width]
# Added to the scores of keys that a query must not see: finite in float16 too, and exp(-1e4) is 0 in any precision.
MASKED = -1e4


class QuickGelu(nn.Module):
    """CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        return x * torch.sigmoid(1.702 * x)


class TanhGelu(nn.Module):
    """GELU by its approximation with tanh, written out: XNNPACK has no operation of its own for it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "quick_gelu": QuickGelu,
    "gelu_pytorch_tanh": TanhGelu,
}


def activation(name: str) -> nn.Module:
    """Return the activation of a tower's MLP by transformers' name for it."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS, where="the towers that can be exported")
    return ACTIVATIONS[name]()


class CentredNorm(nn.LayerNorm):
    """A layer norm less the mean of what it gives: see `centred`."""

    def __init__(self, norm: nn.LayerNorm):
        super().__init__(norm.normalized_shape, norm.eps)
        self.load_state_dict(norm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Map rows [..., width] to themselves."""
        y = super().forward(x)
        return y - y.mean(dim=-1, keepdim=True)


class Unit(nn.Module):
    """Scales rows to length 1, with ops that every target has."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, d] to itself."""
        return x * torch.rsqrt((x * x).sum(dim=-1, keepdim=True) + 1e-12)


class TokenTable(nn.Module):
    """Token embeddings: ids [B, L] to rows [B, L, width]."""

    weight: Tensor

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up the rows of int32 ids."""
        return F.embedding(ids, self.weight)


class Block(nn.Module):
    """A pre-norm transformer block with the attention written out.

    Attention runs as two 3-D batched products over [B * heads, L, width / heads]; the scale is part of `q`.

    Args:
        width: width of the rows.
        heads: attention heads.
        mlp: hidden width of the MLP.
        eps: of both layer norms.
        act: transformers' name of the MLP's activation.
    """

    def __init__(self, width: int, heads: int, mlp: int, eps: float, act: str):
        super().__init__()
        self.heads = heads
        self.norm1: nn.LayerNorm = nn.LayerNorm(width, eps)
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.softmax = nn.Softmax(dim=-1)
        self.o = nn.Linear(width, width)
        self.norm2: nn.LayerNorm = nn.LayerNorm(width, eps)
        self.fc1 = nn.Linear(width, mlp)
        self.act = activation(act)
        self.fc2 = nn.Linear(mlp, width)

    @property
    def readers(self) -> list[nn.Linear]:
        """The layers that read what the first norm gives; the last one reads all of it."""
        return [self.q, self.k, self.v]

    def forward(self, x: Tensor, mask: Tensor | None = None, pool: Pool | None = None) -> Tensor:
        """Map rows [B, L, width] to rows of the same shape, or only to the pooled one [B, 1, width].

        Args:
            x: rows.
            mask: added to the scores: [1, L, L], or [B * heads, 1, L] with `pool`.
            pool: picks one row [B, 1, width] of rows [B, L, width]. What follows a tower's last block reads that row
                alone, so only keys and values are computed for the others.
        """
        rows = self.norm1(x)
        queries = rows
        if pool is not None:
            x, queries = pool(x), pool(rows)
        x = x + self.o(self._attend(queries, rows, mask))
        hidden: Tensor = self.fc2(self.act(self.fc1(self.norm2(x))))
        return x + hidden

    def _attend(self, queries: Tensor, rows: Tensor, mask: Tensor | None) -> Tensor:
        batch, _, width = rows.shape
        each = width // self.heads

        # -1 for the length, and view rather than reshape: XNNPACK takes no other form of a dynamic one
        def split(x: Tensor, *order: int) -> Tensor:
            return x.view(batch, -1, self.heads, each).permute(0, *order).contiguous()

        q = split(self.q(queries), 2, 1, 3).view(batch * self.heads, -1, each)
        k = split(self.k(rows), 2, 3, 1).view(batch * self.heads, each, -1)
        v = split(self.v(rows), 2, 1, 3).view(batch * self.heads, -1, each)
        scores = torch.bmm(q, k)
        if mask is not None:
            scores = scores + mask
        mixed = torch.bmm(self.softmax(scores), v).view(batch, self.heads, -1, each)
        return mixed.transpose(1, 2).contiguous().view(batch, -1, width)


class AttentionPool(nn.Module):
    """One row of many: each head's mean of them, weighted by attention to a learned query, and an MLP.

    The query is a constant, so that its product with a row's key is a linear layer of the row, `score`.

    Args:
        width: width of the rows.
        heads: attention heads.
        mlp: hidden width of the MLP.
        eps: of both layer norms.
        act: transformers' name of the MLP's activation.
    """

    def __init__(self, width: int, heads: int, mlp: int, eps: float, act: str):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps)
        self.score = nn.Linear(width, heads, bias=False)
        self.v = nn.Linear(width, width)
        self.o = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps)
        self.fc1 = nn.Linear(width, mlp)
        self.act = activation(act)
        self.fc2 = nn.Linear(mlp, width)

    @property
    def readers(self) -> list[nn.Linear]:
        """The layers that read what the first norm gives; each reads all of it."""
        return [self.score, self.v]

    def forward(self, x: Tensor) -> Tensor:
        """Map rows [B, L, width] to [B, width]."""
        batch, _, width = x.shape
        each = width // self.heads
        rows = self.norm1(x)
        shares = torch.softmax(self.score(rows).transpose(1, 2).contiguous(), dim=-1)
        values = self.v(rows).view(batch, -1, self.heads, each).permute(0, 2, 1, 3).contiguous()
        mixed = torch.bmm(shares.view(batch * self.heads, 1, -1), values.view(batch * self.heads, -1, each))
        pooled: Tensor = self.o(mixed.view(batch, width))
        hidden: Tensor = self.fc2(self.act(self.fc1(self.norm2(pooled))))
        return pooled + hidden


class Conv(nn.Module):
    """A convolution with its batch norm folded in, padded as the trained one, ReLU6 if `active`."""

    def __init__(self, conv: nn.Conv2d, pad: tuple[int, ...], active: bool):
        super().__init__()
        self.conv = conv
        self.pad = pad
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        if self.pad:
            x = F.pad(x, self.pad)
        y: Tensor = self.conv(x)
        return F.relu6(y) if self.active else y


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a residual where the shape allows."""

    def __init__(self, expand: Conv | None, depthwise: Conv, project: Conv, residual: bool):
        super().__init__()
        self.expand = expand
        self.depthwise = depthwise
        self.project = project
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y
