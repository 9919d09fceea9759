"""Draws the documentation's two pictures: python -m tests.tools.drawings.

They are SVG with colours that suit light and dark pages. A test compares them with what this draws.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

IMAGES = Path(__file__).parents[2] / "docs" / "images"
# a picture that a page shows by its address knows the system's light or dark, not the page's: so both are readable
STYLE = """<style>
  text { font: 15px system-ui, sans-serif; fill: #768390; text-anchor: middle }
  .name { font-weight: 600; font-size: 16px; fill: #fff }
  .small { font-size: 13px }
  .teacher { fill: #6f42a8 } .student { fill: #0b7285 } .file { fill: #a34a10 }
  path, line { stroke: #7d8894; stroke-width: 2; fill: none }
  .strong { stroke: #1f9bb5; stroke-width: 2.5 }
</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"
  orient="auto-start-reverse">
<path d="M0 0 10 5 0 10z" style="fill:#7d8894;stroke:none"/></marker></defs>"""


def drawings() -> dict[str, str]:
    """Return the SVG text of each drawing, by its file name."""
    return {"pipeline.svg": _pipeline(), "graph.svg": _graph()}


def _pipeline() -> str:
    # two rows, so that it can be read on a phone: to the right, down, and back to the left
    boxes = [
        (90, 56, "teacher", "Teacher", "large CLIP", "and your pictures"),
        (290, 56, "student", "Student", "small, trained on", "the graph"),
        (490, 56, "file", "Files", "Core ML, ExecuTorch,", "ONNX in int8"),
        (490, 186, "file", "Bundle", "verified against", "the student"),
        (290, 186, "student", "Your app", "text in,", "pictures out"),
    ]
    parts = []
    for x, y, kind, name, first, second in boxes:
        parts += [_box(x, y, 130, 46, kind, name), _label(x, y + 44, first), _label(x, y + 62, second)]
    arrows = ((157, 56, 222, 56), (357, 56, 422, 56), (490, 125, 490, 161), (423, 186, 358, 186))
    parts += [f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" marker-end="url(#tip)"/>' for a, b, c, d in arrows]
    words = ((190, 46, "distill"), (390, 46, "export"), (515, 148, "gate"), (390, 176, "ship"))
    parts += [_label(*word) for word in words]
    title = "A teacher and your pictures train a student; it is exported, checked, and shipped as a bundle."
    return _svg(580, 260, title, parts)


def _graph() -> str:
    where = {"TI": (130, 70), "TT": (470, 70), "SI": (130, 230), "ST": (470, 230)}
    parts = []
    for start, end, name, at in (
        ("SI", "TI", "SI-TI", (96, 155)),
        ("ST", "TT", "ST-TT", (506, 155)),
        ("SI", "TT", "SI-TT", (395, 134)),
        ("ST", "TI", "ST-TI", (205, 134)),
        ("SI", "ST", "SI-ST", (300, 222)),
    ):
        (x1, y1), (x2, y2) = where[start], where[end]
        parts.append(f'<line class="strong" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
        parts.append(_label(*at, name))
    for x, name in ((130, "SI-SI"), (470, "ST-ST")):
        parts.append(f'<path class="strong" d="M{x - 30} 250c-20 60 80 60 60 0"/>')
        parts.append(_label(x, 314, name))
    for key, text in (("TI", "image tower"), ("TT", "text tower"), ("SI", "image tower"), ("ST", "text tower")):
        x, y = where[key]
        kind = "teacher" if key[0] == "T" else "student"
        parts += [_box(x, y, 170, 46, kind, f"{key}  {text}")]
    parts += [_label(300, 30, "teacher: frozen, its embeddings are cached"), _label(300, 344, "student: learns")]
    title = "Four encoders, teacher and student, image and text, joined by seven edges."
    return _svg(600, 360, title, parts)


def _box(x: int, y: int, width: int, height: int, kind: str, name: str) -> str:
    shape = (
        f'<rect class="{kind}" x="{x - width // 2}" y="{y - height // 2}" width="{width}" height="{height}" rx="8"/>'
    )
    return f'{shape}<text class="name" x="{x}" y="{y + 5}">{escape(name)}</text>'


def _label(x: int, y: int, text: str) -> str:
    return f'<text class="small" x="{x}" y="{y}">{escape(text)}</text>'


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, *parts, "</svg>", ""])


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    for file, content in drawings().items():
        (IMAGES / file).write_text(content, "utf-8")
