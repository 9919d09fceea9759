"""Which layers suffer from int8: the quantisation error of the embedding when one layer alone is int8."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.quantize.calibration import Calibration, require_calibration
from conaclip_edge.export.quantize.int8_grid import round_input
from conaclip_edge.export.towers.layers import TokenTable
from conaclip_edge.export.towers.towers import Towers
from conaclip_edge.models.quantization.int8_weights import round_weight

QUANTISED = (nn.Linear, nn.Conv2d, TokenTable)


def quantised_layers(tower: nn.Module) -> dict[str, nn.Module]:
    """Return name -> layer of everything that int8 covers in a tower: linear layers, convolutions, token table."""
    return {name: layer for name, layer in tower.named_modules() if isinstance(layer, QUANTISED)}


def int8_layers(towers: Towers, tower: str) -> list[str]:
    """Return the names of the layers of a tower that int8 covers: all it can but those that are to stay float."""
    return [name for name in quantised_layers(towers[tower]) if f"{tower}.{name}" not in towers.float_layers]


@torch.no_grad()
def sensitivity(towers: Towers, calibration: Calibration, count: int = 16) -> dict[str, float]:
    """Return layer -> mean (1 - cosine) of the embedding when only that layer is int8, largest first.

    A layer is named by its tower and its path in it, e.g. "image.blocks.3.fc1". The stand-in for int8 is the same for
    all targets: symmetric weights per output channel and, except for the token table, asymmetric inputs per sample.

    Args:
        towers: export-ready towers, smoothed if the export is.
        calibration: real pairs.
        count: pictures and texts of it that are used.
    """
    require_calibration(calibration)
    errors: dict[str, float] = {}
    for name in ("image", "text"):
        tower = towers[name]
        batches = list(calibration.batches(name, count))
        exact = [tower(batch) for batch in batches]
        for layer_name, layer in quantised_layers(tower).items():
            assert isinstance(layer.weight, Tensor)
            weight = layer.weight.data
            hook = layer.register_forward_pre_hook(round_input) if not isinstance(layer, TokenTable) else None
            layer.weight.data = round_weight(weight)
            changed = [tower(batch) for batch in batches]
            layer.weight.data = weight
            if hook is not None:
                hook.remove()
            cosines = torch.cat([F.cosine_similarity(a, b) for a, b in zip(exact, changed, strict=True)])
            errors[f"{name}.{layer_name}"] = float(1 - cosines.double().mean())
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def most_sensitive(towers: Towers, calibration: Calibration, count: int) -> frozenset[str]:
    """Return the names of the `count` layers that an export keeps in float."""
    if count == 0:
        return frozenset()
    return frozenset(list(sensitivity(towers, calibration))[:count])
