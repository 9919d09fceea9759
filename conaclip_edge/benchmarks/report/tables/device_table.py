"""The section of a report on files that were run on a device's kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from conaclip_edge.benchmarks.report.numbers import ABSENT, TO, cosine, megabytes, millions, percent
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import OnDevice, ReportRow

_HEADS = (
    *("row", "tower", "size", "zipped", "instructions of a call", "load and first call", "memory"),
    *("golden", "cosine to the student", "cosine to this host's run", "recall there", "recall here", "pictures"),
)
TOWERS = {"image": "picture", "text": "query"}
LEGEND = (
    "Zipped: as an app store delivers the file (deflate, level 9). Instructions: in millions, counted by runs of two "
    f"lengths, median [least{TO}largest]; they are no time. Memory: peak of the process, before the file was loaded "
    "and after it ran; under emulation the emulator is in both. Golden: least cosine to the golden vectors, by the bar "
    "of verify; plain exports have none. Cosines: means over the held-out inputs (in brackets the least). Recall: mean "
    "of the six, of this tower there with the other tower here, and of both here, on the same pictures, the first of "
    "the split."
)


def device_rows(report: BenchmarkReport) -> list[ReportRow]:
    """Return the rows of files that were run on a device's kernels."""
    return [row for row in report.rows if row.device]


def without_devices(report: BenchmarkReport) -> BenchmarkReport:
    """Return a report without these rows, for the tables and charts of times."""
    return report.model_copy(update={"rows": tuple(row for row in report.rows if not row.device)})


def device_answer(report: BenchmarkReport) -> str:
    """Return a sentence on which files were run where, and whether they passed."""
    rows = device_rows(report)
    towers = [tower for row in rows for tower in row.on_device.values()]
    compared = [tower.golden_passed for tower in towers if tower.golden_passed is not None]
    failed = compared.count(False)
    verdict = f"{failed} of {len(compared)} files miss" if failed else f"all {len(compared)} files reach"
    devices = " and ".join(dict.fromkeys(str(row.device) for row in rows))
    return (
        f"Run on {devices}: {verdict} the bar on the golden vectors. Instructions are counted there, and are no time: "
        "milliseconds come from a phone (benchmark --device android or ios)."
    )


def device_table(report: BenchmarkReport) -> str:
    """Tabulate the rows of devices, a line per tower; what was measured of none has no column."""
    rows = device_rows(report)
    devices = list(dict.fromkeys(str(row.device) for row in rows))
    cells = _cells(rows, len(devices) > 1)
    kept = [column for column in range(len(_HEADS)) if any(line[column] != ABSENT for line in cells)]
    lines = [f"|{'---|' * len(kept)}", *(f"| {' | '.join(line[column] for column in kept)} |" for line in cells)]
    lines.insert(0, f"| {' | '.join(_HEADS[column] for column in kept)} |")
    return "\n".join([f"{', '.join(devices)}.", "", *lines, "", LEGEND])


def device_lines(report: BenchmarkReport) -> list[str]:
    """Tabulate the same for a terminal, with what fits a line."""
    lines = []
    for device in dict.fromkeys(row.device for row in device_rows(report)):
        lines.append(
            f"{device}{'':{max(1, 34 - len(str(device)))}}{'golden':>9}{'to host':>9}{'there/here R':>15}{'n':>5}"
            f"{'M instr.':>10}{'memory':>9}"
        )
        for row in device_rows(report):
            for tower, found in row.on_device.items() if row.device == device else ():
                recall = f"{_shown(_tenth, found.mean_recall)} / {_shown(_tenth, found.host_mean_recall)}"
                count = millions(found.instructions.median) if found.instructions else ABSENT
                lines.append(
                    f"  {f'{row.label}, {TOWERS[tower]}':33}{_shown(cosine, found.golden):>9}"
                    f"{_shown(cosine, found.to_host):>9}{recall:>15}{found.pictures:>5}{count:>10}"
                    f"{megabytes(found.peak_bytes):>9}"
                )
    return lines


def _cells(rows: Sequence[ReportRow], many: bool) -> list[list[str]]:
    return [
        [
            f"{row.label}, {row.device}" if many else row.label,
            TOWERS[tower],
            _shown(megabytes, getattr(row.size_bytes, tower, None)),
            _shown(megabytes, row.size_bytes.deflated.get(tower) if row.size_bytes else None),
            *_counts(found),
            f"{megabytes(found.runtime_bytes)}, {megabytes(found.peak_bytes)}",
            _golden(found),
            _shown(cosine, found.to_student),
            ABSENT if found.to_host is None else f"{cosine(found.to_host)} [{_shown(cosine, found.to_host_least)}]",
            _shown(percent, found.mean_recall),
            _shown(percent, found.host_mean_recall),
            f"{found.pictures} ({found.captions} captions)" if found.pictures else ABSENT,
        ]
        for row in rows
        for tower, found in row.on_device.items()
    ]


def _shown(form: Callable[[float], str], value: float | None) -> str:
    return ABSENT if value is None else form(value)


def _tenth(value: float) -> str:
    return f"{value:.1f}"


def _golden(found: OnDevice) -> str:
    if found.golden is None:
        return ABSENT
    return f"{cosine(found.golden)} {'passed' if found.golden_passed else '**missed**'}"


def _counts(found: OnDevice) -> tuple[str, str]:
    counted = found.instructions
    if counted is None:
        return ABSENT, ABSENT
    of = f", {counted.ids} ids" if counted.ids else ""
    spread = f"[{millions(counted.low)}{TO}{millions(counted.high)}, n = {counted.n}{of}]"
    return f"{millions(counted.median)} {spread}", millions(counted.start)
