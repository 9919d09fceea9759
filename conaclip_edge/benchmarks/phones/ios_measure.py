"""Time a bundle's Core ML files on an iPhone. Runs on a Mac with Xcode and coremltools 9; needs nothing else.

    python ios_measure.py BUNDLE ios.json --team TEAM_ID [--runs 100]

coremltools builds its model runner app, installs it on the connected iPhone with Xcode's devicectl, and times every
call there. TEAM_ID is the development team of an Apple developer account, which signs the app. The Mac itself is
measured with --mac. The result goes back into a report: conaclip-edge benchmark BUNDLE --device ios --result ios.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

WARMUP = 5


async def measure(bundle: Path, runs: int, team: str, mac: bool) -> dict[str, Any]:
    """Time every package of a bundle; returns the values of the result file."""
    import coremltools as ct
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker
    from coremltools.models.ml_program.experimental.remote_device import AppSigningCredentials, Device, DeviceType

    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    device = None
    if not mac:
        connected = Device.get_connected_devices(DeviceType.IPHONE)
        if not connected:
            raise SystemExit("no iPhone is connected: attach one by cable, unlock it, and turn its developer mode on.")
        device = await connected[0].prepare_for_model_debugging(AppSigningCredentials(development_team=team))
    files = []
    for path in sorted(bundle.glob("coreml/*.mlpackage")):
        model = ct.models.MLModel(str(path), skip_model_load=True, compute_units=ct.ComputeUnit.ALL)
        benchmark = MLModelBenchmarker(model=model, device=device)
        load = await benchmark.benchmark_load(iterations=3)
        times = await benchmark.benchmark_predict(inputs(path, manifest), iterations=runs + WARMUP)
        files.append(
            {
                "path": path.relative_to(bundle).as_posix(),
                "load_ms": list(load.samples),
                "first_ms": times.samples[0],
                "predict_ms": list(times.samples[WARMUP:]),
            }
        )
    return {
        "schema": "conaclip-edge/ios/1",
        "embedding_space": manifest["embedding_space"],
        "device": {"name": "Mac", "os": "macOS"} if device is None else {"name": device.name, "os": device.os_version},
        "coremltools": ct.__version__,
        "compute_units": "ALL",
        "warmup": WARMUP,
        "files": files,
    }


def inputs(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return an input of a package: a grey picture, or a text that fills the context."""
    import numpy as np

    if path.name.startswith("image."):
        size = manifest["image_size"]
        return {"pixel_values": np.full((1, 3, size, size), 0.5, dtype=np.float32)}
    ids = np.full((1, manifest["context"]), manifest["pad_id"], dtype=np.int32)
    ids[0, -1] = manifest["eos_id"]
    return {"input_ids": ids}


def main() -> None:
    """Read the command line and write the result file."""
    parser = argparse.ArgumentParser(description="Time a bundle's Core ML files on an iPhone.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--team", default="", help="development team that signs the model runner app")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--mac", action="store_true", help="measure this Mac instead")
    given = parser.parse_args()
    result = asyncio.run(measure(given.bundle, given.runs, given.team, given.mac))
    given.result.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(f"{given.result}: {len(result['files'])} files on {result['device']['name']}")


if __name__ == "__main__":
    main()
