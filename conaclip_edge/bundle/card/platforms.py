"""The model card's sections for those who write an app, and the app kit that goes into the bundle with them.

Versions and sizes were taken from: the Package.swift of swift-transformers 1.3.3 (iOS 16, macOS 13); the AAR of ONNX
Runtime 1.29.0 of 2026-08-12, as the npm package com.github.asus4.onnxruntime 0.4.9 carries it (minSdk 24, four ABIs,
sizes of its libonnxruntime.so); the list of onnxruntime-android on Maven Central (1.27.0; onnxruntime-mobile ends with
1.18.0); ExecuTorch's docs and build.gradle (minSdk 23, two ABIs); DJL's android/tokenizer-native (0.33.0, four ABIs).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conaclip_edge.bundle.card.python_code import files_of, python_code
from conaclip_edge.bundle.card.shipped import android_tree, apple_tree
from conaclip_edge.bundle.manifest import ExportedFile, Manifest

KITS = ("kotlin", "swift")  # folders of a bundle
_HERE = Path(__file__).parent / "kit"
_SWIFT = ("Encoder.swift", "Pixels.swift", "Search.swift", "GoldenCheck.swift")
_PARTS = ("Encoder", "Tokenizer", "Words", "Pieces", "Json", "Pixels", "AndroidPictures", "Search", "GoldenCheck")
_KOTLIN = tuple(f"{part}.kt" for part in _PARTS)
# deployment target -> specification version of the package, and the systems that read it
SYSTEMS = {"iOS17": (8, "iOS 17, macOS 14"), "iOS18": (9, "iOS 18, macOS 15")}
_OPSET_23 = 23  # which ONNX Runtime reads since 1.23


def kit_files(manifest: Manifest) -> dict[str, str]:
    """Return the app kit for the bundle's targets: path in the bundle -> content."""
    kotlin = [
        name
        for name, files in (("OnnxTowers.kt", _onnx(manifest)), ("ExecutorchTowers.kt", _executorch(manifest)))
        if files
    ]
    swift = [
        name
        for name, files in (("CoremlEncoder.swift", _coreml(manifest)), ("CoreaiEncoder.swift", _coreai(manifest)))
        if files
    ]
    names = [f"swift/{name}" for name in (*_SWIFT, *swift)] if swift else []
    names += [f"kotlin/{name}" for name in (*_KOTLIN, *kotlin)] if kotlin else []
    return {name: (_HERE / name).read_text("utf-8") for name in names}


def platform_sections(manifest: Manifest, preprocess: Mapping[str, Any]) -> list[str]:
    """Return a section of Markdown for each platform that the bundle has files for, and for Python."""
    sections = []
    if coreml := _coreml(manifest):
        sections.append(_coreml_section(manifest, coreml))
    if coreai := _coreai(manifest):
        sections.append(_coreai_section(manifest, coreai, alone=not coreml))
    if (onnx := _onnx(manifest)) or _executorch(manifest):
        sections.append(_android(manifest, onnx, _executorch(manifest)))
    code = python_code(manifest, preprocess)
    sections.append(f"### Python\n\nIn the bundle's folder:\n\n```python\n{code}\n```")
    return sections


def _coreml(manifest: Manifest) -> dict[str, ExportedFile]:
    return files_of(manifest, "coreml", ".mlpackage")


def _coreai(manifest: Manifest) -> dict[str, ExportedFile]:
    return files_of(manifest, "coreai", ".aimodel")


def _onnx(manifest: Manifest) -> dict[str, ExportedFile]:
    return files_of(manifest, "onnx", ".onnx")


def _executorch(manifest: Manifest) -> dict[str, ExportedFile]:
    return files_of(manifest, "executorch", ".pte")


def _coreml_section(manifest: Manifest, files: dict[str, ExportedFile]) -> str:
    names = {tower: file.path.rpartition("/")[2].removesuffix(".mlpackage") for tower, file in files.items()}
    deployment = files["image"].settings.get("deployment", "iOS17")
    version, systems = SYSTEMS[deployment]
    run = "by Core ML on a Mac" if files["image"].gate.executed == "native" else "by an interpreter, on no Apple device"
    open_it = f'try CoremlEncoder(folder: folder, imageName: "{names["image"]}", textName: "{names["text"]}")'
    return f"""\
### iOS and macOS: Swift, Core ML

- **Systems:** {systems} or newer (specification version {version} of both packages).
- **Compute units:** any; `CoremlEncoder` takes `.all`, so that Core ML chooses. These packages were run {run}: look at
  the performance report of Xcode for what runs on the Neural Engine of your device.
- **Files:** drag both packages of `coreml/` into the app's target, and a folder named `bundle` as a folder reference,
  with these files of this one.
{_swift_notes(manifest, files)}

{apple_tree(files, "CoremlEncoder.swift", inside=False)}

{_swift_use(open_it, files["image"].precision)}"""


def _coreai_section(manifest: Manifest, files: dict[str, ExportedFile], alone: bool) -> str:
    lengths = files["text"].notes.get("lengths") or []
    asked = [] if manifest.fixed_length else lengths
    native = files["image"].gate.executed == "native"
    run = "by Core AI on a Mac" if native else "by the executor of Apple's package, on the CPU of another system"
    precision = files["image"].precision
    functions = "a function `main`"
    if asked:
        functions = "a function for each length of a text, " + ", ".join(f"`main_length_{length}`" for length in asked)
    open_it = f'try await CoreaiEncoder(folder: folder, precision: "{precision}", lengths: {asked})'
    older = "" if alone else " Older ones take the Core ML packages above, which give the same vectors up to rounding."
    notes = f"\n{_swift_notes(manifest, files)}" if alone else ""
    return f"""\
### iOS and macOS 27: Swift, Core AI

- **Systems:** iOS 27, macOS 27 or newer.{older}
- **Files:** a folder named `bundle` as a folder reference, with these files of this one; `CoreaiEncoder` opens the
  assets of `coreai/` where they lie. The system prepares an asset for its processors when it is first loaded, and
  keeps the result.
- **Asset:** {functions}; inputs `pixel_values` and `input_ids`, output `embedding`. These assets were run {run}: what
  Core AI gives to the Neural Engine of a device, and how long it takes, was not seen.{notes}

{apple_tree(files, "CoreaiEncoder.swift", inside=True)}

{_swift_use(open_it, precision)}"""


def _swift_notes(manifest: Manifest, files: dict[str, ExportedFile]) -> str:
    lengths = files["text"].notes.get("lengths")
    texts = f"of {', '.join(map(str, lengths))} ids (shorter ones are filled up)" if lengths else "of any length"
    if manifest.fixed_length:
        texts = f"padded to {manifest.context} ids"
    return f"""\
- **Tokenizer:** `https://github.com/huggingface/swift-transformers`, exact version 1.3.3, product `Tokenizers` (iOS 16,
  macOS 13). It reads `tokenizer.json` but does not cut texts; `TextIds` does. It is a port, not the same code: the
  golden check names texts whose ids differ. It does not know the `</w>` of CLIP's own BPE vocabulary.
- **Picture to input:** `Pixels.swift`, without vImage and Core Image: neither promises a bicubic filter with a = -0.5
  and antialiasing. vImage's high-quality scaling is Lanczos; docs/results/apps.md of conaclip-edge measures what
  other filters cost. Decoding and colours are ImageIO's and Core Graphics'.
- **Texts:** {texts}, at most {manifest.context}.
- **Nearest neighbours:** `Index` keeps vectors as int8 with a scale each and looks at all of them. From some hundred
  thousand on, USearch's Swift package is faster (`https://github.com/unum-cloud/usearch`, cosine metric)."""


def _swift_use(open_it: str, precision: str) -> str:
    return f"""\
`swift/` has all of it; parsed, not compiled, where this bundle was made. Use, in an asynchronous function:

```swift
import Foundation

let folder = Bundle.main.url(forResource: "bundle", withExtension: nil)!
let encoder = {open_it}
let differences = try await goldenDifferences(encoder, folder: folder, precision: "{precision}")
assert(differences.isEmpty)

// once for each picture
let pictures: [URL] = []
var index = Index(dim: encoder.facts.embedDim)
for picture in pictures {{ index.add(try await encoder.embed(picture: Data(contentsOf: picture))) }}
// for each query
let hits = index.nearest(try await encoder.embed(text: "a red bicycle"), count: 10)
```"""


def _android(manifest: Manifest, onnx: dict[str, ExportedFile], executorch: dict[str, ExportedFile]) -> str:
    first = onnx or executorch
    towers = "OnnxTowers" if onnx else "ExecutorchTowers"
    gradle = [*_ONNX_GRADLE] if onnx else []
    if executorch:
        made = executorch["image"].notes.get("versions", {}).get("executorch", "1.0.0")
        gradle.append(f'    implementation("org.pytorch:executorch-android:[{made},2.0)") // pin what it resolves to')
    runtimes = [_WHICH] if onnx and executorch else []
    runtimes += [_onnx_runtime(onnx)] if onnx else []
    runtimes += [_EXECUTORCH_RUNTIME] if executorch else []
    pairs = {name: pair for name, pair in (("ONNX Runtime", onnx), ("ExecuTorch", executorch)) if pair}
    return f"""\
### Android: Kotlin, {" or ".join(pairs)}

{android_tree(pairs)}

```kotlin
// app/build.gradle.kts
android {{
    defaultConfig {{
        minSdk = 28
        ndk {{ abiFilters += listOf("arm64-v8a", "x86_64") }}
    }}
}}
dependencies {{
{chr(10).join(gradle)}
}}
```

{chr(10).join(runtimes)}
- **minSdk:** `AndroidPictures.kt` needs 28 (`ImageDecoder` turns pictures upright and brings them to sRGB); the rest
  of the kit is plain Kotlin, compiled and run on a JVM against the golden texts and pictures.
- **Tokenizer:** the kit's reads `tokenizer.json` of WordPiece and BPE and needs no library. It refuses other kinds:
  `ai.djl.huggingface:tokenizers:0.33.0` with `ai.djl.android:tokenizer-native:0.33.0` reads all of them; give
  `Encoder` a function of it as `tokenize`.
- **Files:** the tree above says which. Runtimes open paths, so `bundleFolder` copies `assets/bundle` to files once for
  each version of its manifest. For an accelerator add the file that the section on accelerators names.
- **Picture to input:** `Pixels.kt`. `Bitmap.createScaledBitmap` is no substitute: bilinear without antialiasing.
  docs/results/apps.md of conaclip-edge measures what it costs.
- **Nearest neighbours:** `Index` keeps vectors as int8 with a scale each, in memory, and looks at all of them. It is
  filled at each start: keep the `FloatArray` of each picture in your database, with the embedding space beside it.
  From some hundred thousand on, USearch is faster (`cloud.unum:usearch`, cosine metric).
- **Threads:** the towers' `threads`; measure on the device. Keep one encoder, and call it from one thread.
- **Release builds:** R8 removes or renames what native code looks up by its name, and the app ends where a debug build
  runs. Put this into `proguard-rules.pro`, and run the golden check in a release build too:

```text
{chr(10).join(rule for name in pairs for rule in _KEEP[name])}
```

`kotlin/` has all of it, in the package `conaclip`. Use:

```kotlin
val bundle = bundleFolder(context)
val precision = "{first["image"].precision}"
val encoder = Encoder(bundle, precision, {towers}(bundle, precision, threads = 2))
check(goldenDifferences(encoder, ::decoded).isEmpty()) // in a test, or once at the first start

// once for each picture
val pictures = listOf<java.io.File>()
val index = Index(encoder.dim)
for (picture in pictures) index.add(encoder.embed(decoded(picture)))
// for each query
val hits = index.nearest(encoder.embed("a red bicycle"), count = 10)
```"""


_ONNX_GRADLE = ('    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.27.0")',)


def _onnx_runtime(files: dict[str, ExportedFile]) -> str:
    opset = files["image"].notes.get("opset", _OPSET_23)
    needs = f"opset {opset}" + (", so 1.23 or newer" if opset >= _OPSET_23 else "")
    single = files["image"].notes.get("batch") == 1
    pictures = "one picture per call: the batch is fixed" if single else "any number of pictures per call"
    return f"""\
- **Batch:** {pictures}; texts in any number. Accelerators take nodes of fixed shapes alone; `--set batch=dynamic` of
  `conaclip-edge export` leaves the batch open.
- **ONNX Runtime:** `onnxruntime-android` ({needs}), minSdk 24, ABIs arm64-v8a, armeabi-v7a, x86, x86_64. For
  arm64-v8a it adds 12.1 MB to a download and 32.1 MB on the device (libonnxruntime.so of the AAR of 1.29.0).
  It opens `.onnx` and `.ort`: take `.onnx`, which is faster. `.ort` is for builds of your own that are reduced to
  fewer operators and read nothing else, and fits the runtime's version that wrote it. `onnxruntime-mobile`, the reduced
  package of Maven Central, ended with 1.18.0 and is too old for these files."""


# runtime -> rules for R8, by ONNX Runtime's docs/build/android.md, and by pull request 22174 of ExecuTorch, whose AAR's
# own rules leave out a class of fbjni
_KEEP = {
    "ONNX Runtime": ("-keep class ai.onnxruntime.** { *; }",),
    "ExecuTorch": ("-keep class org.pytorch.executorch.** { *; }", "-keep class com.facebook.jni.** { *; }"),
}
_WHICH = """\
- **Which of the two:** the one that the report of `conaclip-edge benchmark` names. Without a report begin with ONNX
  Runtime, whose API is stable; a stopwatch on your phone says whether ExecuTorch is worth the change. Leave out the
  `implementation` line of the other."""
_EXECUTORCH_RUNTIME = """\
- **ExecuTorch:** `executorch-android`, minSdk 23, ABIs arm64-v8a and x86_64, with XNNPACK; not older than the one that
  exported. What it adds to an app is not known here: Android Studio's APK Analyzer shows it. Its Kotlin API is marked
  experimental. `Tensor.fromBlob` takes plain arrays, red, green and blue plane one after the other: no
  channels-last memory, which the runtime does not refuse and which gives wrong embeddings."""
