"""What each accelerator of a phone would take of an exported file, as the manifest's notes record it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from conaclip_edge.bundle.manifest import ExportedFile, Manifest
from conaclip_edge.system.result import Result

NOTE = "accelerators"  # key of the notes of a file
LEGEND = (
    "Nodes that the accelerator would take, of all nodes of the file, by its type and whether its shapes are fixed; in "
    "brackets the pieces that these nodes fall into: the fewer, the less is copied to and fro. It is read from tables, "
    "not tried on a phone: a driver may still refuse a node, and what is not taken runs on the CPU. An `.ort` file "
    "comes from the same nodes as its `.onnx` file."
)


class Accelerator(Result):
    """What one accelerator would take of a file.

    Attributes:
        name: of the accelerator.
        taken: nodes that it takes; None where that was not checked.
        nodes: of the file, constants computed away.
        pieces: connected pieces that the taken nodes fall into.
        left: types of the nodes that it does not know.
        symbolic: nodes that it does not take because a shape is not fixed.
        source: table or checker, with its version.
        reason: why it was not checked.
    """

    name: str
    taken: int | None = None
    nodes: int = 0
    pieces: int = 0
    left: tuple[str, ...] = ()
    symbolic: int = 0
    source: str = ""
    reason: str = ""


def accelerators_of(file: ExportedFile) -> tuple[Accelerator, ...]:
    """Return what the notes of a file record; nothing for a file of an older version, or of Core ML."""
    try:
        return tuple(Accelerator.model_validate(one) for one in file.notes.get(NOTE, ()))
    except (ValidationError, TypeError):  # notes of another version
        return ()


def accelerator_text(found: Accelerator) -> str:
    """Write one cell of a table, as "67 of 68 (2)"."""
    if found.taken is None:
        return "not checked"
    pieces = f" ({found.pieces})" if found.taken else ""
    return f"{found.taken} of {found.nodes}{pieces}"


def accelerator_line(found: Iterable[Accelerator]) -> str:
    """Write what accelerators take of one file on one line."""
    return ", ".join(f"{one.name} {accelerator_text(one)}" for one in found)


def covered_files(files: Iterable[ExportedFile]) -> dict[str, tuple[Accelerator, ...]]:
    """Return path -> what accelerators take, of the files that record it; without .ort, which .onnx stands for."""
    found = {file.path: accelerators_of(file) for file in files if not file.path.endswith(".ort")}
    return {path: one for path, one in found.items() if one}


def accelerator_names(covered: Iterable[Iterable[Accelerator]]) -> list[str]:
    """Return the names of accelerators, the columns of a table, in the order in which they come."""
    return list(dict.fromkeys(one.name for found in covered for one in found))


def accelerator_table(covered: Mapping[str, tuple[Accelerator, ...]]) -> str:
    """Tabulate in Markdown what accelerators take of each file, by its name."""
    names = accelerator_names(covered.values())
    lines = [f"| file | {' | '.join(names)} |", f"|{'---|' * (len(names) + 1)}"]
    for name, found in covered.items():
        cells = {one.name: accelerator_text(one) for one in found}
        lines.append(f"| {name} | {' | '.join(cells.get(column, '') for column in names)} |")
    sources = dict.fromkeys(f"{one.name}: {one.source}" for found in covered.values() for one in found if one.source)
    left = [f"- {name}: {words}" for name, found in covered.items() if (words := left_text(found))]
    return "\n".join([*lines, "", LEGEND, "", *left, "", f"Read from: {'; '.join(sources)}."])


def left_text(found: Iterable[Accelerator]) -> str:
    """Say what each accelerator leaves of one file, and why."""
    parts = []
    for one in found:
        reasons = [one.reason] if one.taken is None else []
        if one.left:
            reasons.append(f"does not know {', '.join(one.left)}")
        if one.symbolic:
            reasons.append(f"{one.symbolic} nodes have a shape that is not fixed")
        if reasons:
            parts.append(f"{one.name} {'not checked: ' if one.taken is None else ''}{'; '.join(reasons)}")
    return ". ".join(parts)


def accelerator_files_text(manifest: Manifest) -> str:
    """Say which ONNX file is for an accelerator and how it is opened; "" where none is made for one."""
    precisions = dict.fromkeys(file.precision for file in manifest.files if file.form)
    return "\n\n".join(_which_file(manifest, precision) for precision in precisions)


def _which_file(manifest: Manifest, precision: str) -> str:
    made = {file.tower: file for file in manifest.files if file.precision == precision and file.form}
    target = next(iter(made.values())).target
    names = {tower: f"{target}/{tower}.{precision}.onnx" for tower in ("image", "text")}
    chosen = names | {tower: file.path for tower, file in made.items()}
    filled = (
        "as `tokenizer.json` gives them"
        if manifest.fixed_length
        else f"filled up with {manifest.pad_id} behind the end"
    )
    half = "NNAPI takes float32 alone: nothing of this precision. " if precision == "fp16" else ""
    return f"""\
{precision}: the CPU takes `{names["text"]}` and `{names["image"]}`. NNAPI, Core ML and QNN behind ONNX Runtime take
`{chosen["text"]}`: one text of exactly {manifest.context} ids, {filled}.
Of pictures an accelerator takes `{chosen["image"]}`.
{half}Files for accelerators run on the CPU too, but slower: they compute with floats, and each text has all ids.

- Kotlin: `OnnxTowers(bundleFolder(context), "{precision}", accelerator = {{ addNnapi() }})` opens these files and
  fills texts up; `{{ addQnn(mapOf("backend_path" to "libQnnHtp.so")) }}` is Qualcomm's.
- Python: `onnxruntime.InferenceSession("{chosen["text"]}", providers=[("CoreMLExecutionProvider",
  {{"ModelFormat": "MLProgram"}}), "CPUExecutionProvider"])` on a Mac."""
