"""Line charts as one SVG file of its own, readable on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _GAP = 460.0, 300.0, 40.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 30.0, 40.0
# told apart by people who see few colours (Okabe and Ito's palette), after the first, which has the text's colour
_COLOURS = ("currentColor", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MOST_POINTS = 400  # drawn per curve; the eye sees no more
_STYLE = (
    ":root{color:#222;background:#fff}text{font:12px system-ui,sans-serif;fill:currentColor}"
    ".title{font-weight:600}.tick{font-size:10px}.grid{stroke:currentColor;stroke-opacity:.15}"
    "@media(prefers-color-scheme:dark){:root{color:#ddd;background:#16181c}}"
)


@dataclass(frozen=True)
class Curve:
    """A named line of (step, value); values that are not above zero are left out of a logarithmic chart."""

    name: str
    points: Sequence[tuple[float, float]]


def line_charts(*charts: tuple[str, str, Sequence[Curve], bool]) -> str:
    """Draw charts beside each other over the steps of a run.

    Args:
        charts: (title, name of the value, curves, whether its axis is logarithmic).

    Returns:
        The SVG document.
    """
    legend = max(len(curves) for _, _, curves, _ in charts) * 16.0
    width, height = len(charts) * (_WIDTH + _GAP) - _GAP, _HEIGHT + legend
    body = "".join(
        f'<g transform="translate({number * (_WIDTH + _GAP):g} 0)">{_chart(*chart)}</g>'
        for number, chart in enumerate(charts)
    )
    name = escape(" and ".join(title for title, *_ in charts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{name}">'
        f"<style>{_STYLE}</style>{body}</svg>\n"
    )


def _chart(title: str, value: str, curves: Sequence[Curve], logarithmic: bool) -> str:
    shown = [
        Curve(curve.name, [(x, y) for x, y in curve.points if math.isfinite(y) and (y > 0 or not logarithmic)])
        for curve in curves
    ]
    points = [point for curve in shown for point in curve.points] or [(0.0, 1.0)]
    last = max(max(x for x, _ in points), 1.0)
    ticks = _log_ticks([y for _, y in points]) if logarithmic else _ticks([y for _, y in points])
    low, high = (math.log(ticks[0]), math.log(ticks[-1])) if logarithmic else (ticks[0], ticks[-1])

    def across(x: float) -> float:
        return _LEFT + x / last * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        at = ((math.log(y) if logarithmic else y) - low) / (high - low)
        return _HEIGHT - _BOTTOM - at * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_text(_LEFT, 14, title, "title"), _text(_LEFT, 26, value, "tick")]
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{_LEFT:g} {down(tick):.1f}H{_WIDTH - _RIGHT:g}"/>')
        parts.append(_text(_LEFT - 6, down(tick) + 4, f"{tick:g}", "tick", "end"))
    steps = [tick for tick in _ticks([0.0, last]) if tick <= last]
    parts += [_text(across(tick), _HEIGHT - _BOTTOM + 16, f"{tick:g}", "tick", "middle") for tick in steps]
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 8, "step", "tick", "end"))
    for number, curve in enumerate(shown):
        colour = _COLOURS[number % len(_COLOURS)]
        dashes = f' stroke-dasharray="{4 * (number // len(_COLOURS))} 2"' if number >= len(_COLOURS) else ""
        thinned = curve.points[:: max(1, len(curve.points) // _MOST_POINTS)]
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in thinned)
        wide = 1.8 if number == 0 else 1
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{wide}"{dashes} points="{path}"/>')
        if len(curves) > 1:
            y = _HEIGHT + 12 + 16 * number
            parts.append(f'<path stroke="{colour}" stroke-width="3"{dashes} d="M{_LEFT:g} {y - 4:g}h18"/>')
            parts.append(_text(_LEFT + 24, y, curve.name, "tick"))
    return "".join(parts)


def _ticks(values: Sequence[float]) -> list[float]:
    """Return about five round numbers from below the least value to above the largest."""
    low, high = min(values), max(values)
    raw = max(high - low, abs(high) * 0.1, 1e-9) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(unit for unit in (power, 2 * power, 5 * power, 10 * power) if unit >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return powers of ten from below the least value to above the largest."""
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
