"""How to load a bundle in Swift, Kotlin and Python: short code with this bundle's own names and sizes."""

from __future__ import annotations

from conaclip_edge.bundle.manifest import ExportedFile, Manifest


def snippets(manifest: Manifest) -> list[tuple[str, str, str]]:
    """Return (title, language, code) for each target that the bundle has, and for Python."""
    made = []
    coreml = _paths(manifest, "coreml", ".mlpackage")
    onnx = _paths(manifest, "onnx", ".onnx")
    mobile = _paths(manifest, "onnx", ".ort") or onnx
    executorch = _paths(manifest, "executorch", ".pte")
    if coreml:
        made.append(("Swift (Core ML)", "swift", _swift(manifest, coreml)))
    if mobile:
        made.append(("Kotlin (onnxruntime-android)", "kotlin", _kotlin_onnx(manifest, mobile)))
    if executorch:
        made.append(("Kotlin (ExecuTorch)", "kotlin", _kotlin_executorch(manifest, executorch)))
    made.append(("Python", "python", _python_onnx(manifest, onnx) if onnx else _python(manifest)))
    return made


def _paths(manifest: Manifest, target: str, suffix: str) -> dict[str, ExportedFile]:
    """Return the target's files by tower, int8 before other precisions."""
    order = ("fp32", "fp16", "int8")
    files = [file for file in manifest.files if file.path.startswith(f"{target}/") and file.path.endswith(suffix)]
    return {file.tower: file for file in sorted(files, key=lambda file: order.index(file.precision))}


def _swift(manifest: Manifest, files: dict[str, ExportedFile]) -> str:
    names = {tower: file.path.rpartition("/")[2].removesuffix(".mlpackage") for tower, file in files.items()}
    size, lengths = manifest.image_size, files["text"].notes.get("lengths")
    length = f"{lengths}.first {{ $0 >= ids.count }}!" if lengths else "ids.count"
    picture = (
        "// picture: RGB pixels, scaled and cropped as preprocess.json says\n"
        "func embed(picture: CVPixelBuffer) throws -> [Float] {\n"
        '    try run(imageModel, "pixel_values", MLFeatureValue(pixelBuffer: picture))\n'
        "}"
        if files["image"].settings.get("image_input") == "image"
        else "// pixels: red, green, blue plane, each value 0...1\n"
        "func embed(pixels: [Float]) throws -> [Float] {\n"
        f"    let input = try MLMultiArray(shape: [1, 3, {size}, {size}], dataType: .float32)\n"
        "    for (i, value) in pixels.enumerated() { input[i] = NSNumber(value: value) }\n"
        '    return try run(imageModel, "pixel_values", MLFeatureValue(multiArray: input))\n'
        "}"
    )
    return f"""import CoreML

// add the packages in coreml/ to the app's target; Xcode compiles them
func load(_ name: String) throws -> MLModel {{
    try MLModel(contentsOf: Bundle.main.url(forResource: name, withExtension: "mlmodelc")!)
}}
let imageModel = try load("{names["image"]}")
let textModel = try load("{names["text"]}")

{picture}

// ids: end with {manifest.eos_id}
func embed(ids: [Int32]) throws -> [Float] {{
    let length = {length}
    let input = try MLMultiArray(shape: [1, NSNumber(value: length)], dataType: .int32)
    for i in 0..<length {{ input[i] = NSNumber(value: i < ids.count ? ids[i] : {manifest.pad_id}) }}
    return try run(textModel, "input_ids", MLFeatureValue(multiArray: input))
}}

func run(_ model: MLModel, _ name: String, _ input: MLFeatureValue) throws -> [Float] {{
    let features = try MLDictionaryFeatureProvider(dictionary: [name: input])
    let output = try model.prediction(from: features).featureValue(for: "embedding")!.multiArrayValue!
    return (0..<output.count).map {{ output[$0].floatValue }}  // copied: do not keep the output itself
}}"""


def _kotlin_onnx(manifest: Manifest, files: dict[str, ExportedFile]) -> str:
    size = manifest.image_size
    return f"""import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer
import java.nio.IntBuffer

class Encoder(bundle: File) {{
    private val env = OrtEnvironment.getEnvironment()
    private val image = env.createSession(File(bundle, "{files["image"].path}").path)
    private val text = env.createSession(File(bundle, "{files["text"].path}").path)

    // pixels: red, green, blue plane, each value 0..1
    fun picture(pixels: FloatArray): FloatArray {{
        val shape = longArrayOf(1, 3, {size}, {size})
        return run(image, "pixel_values", OnnxTensor.createTensor(env, FloatBuffer.wrap(pixels), shape))
    }}

    // ids: end with {manifest.eos_id}, not padded
    fun text(ids: IntArray): FloatArray {{
        val shape = longArrayOf(1, ids.size.toLong())
        return run(text, "input_ids", OnnxTensor.createTensor(env, IntBuffer.wrap(ids), shape))
    }}

    @Suppress("UNCHECKED_CAST")
    private fun run(session: OrtSession, name: String, input: OnnxTensor): FloatArray =
        input.use {{ session.run(mapOf(name to it)).use {{ out -> (out[0].value as Array<FloatArray>)[0] }} }}
}}"""


def _kotlin_executorch(manifest: Manifest, files: dict[str, ExportedFile]) -> str:
    size = manifest.image_size
    return f"""import java.io.File
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

class Encoder(bundle: File) {{
    private val image = Module.load(File(bundle, "{files["image"].path}").path)
    private val text = Module.load(File(bundle, "{files["text"].path}").path)

    // pixels: red, green, blue plane, each value 0..1
    fun picture(pixels: FloatArray): FloatArray =
        run(image, Tensor.fromBlob(pixels, longArrayOf(1, 3, {size}, {size})))

    // ids: end with {manifest.eos_id}, not padded
    fun text(ids: IntArray): FloatArray =
        run(text, Tensor.fromBlob(ids, longArrayOf(1, ids.size.toLong())))

    private fun run(module: Module, input: Tensor): FloatArray =
        module.forward(EValue.from(input))[0].toTensor().dataAsFloatArray
}}"""


def _python_onnx(manifest: Manifest, files: dict[str, ExportedFile]) -> str:
    return f"""import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer

image = onnxruntime.InferenceSession("{files["image"].path}")
text = onnxruntime.InferenceSession("{files["text"].path}")
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation({manifest.context})


def embed_picture(path):
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    scale = {manifest.image_size} / min(picture.size)
    width, height = (max({manifest.image_size}, round(side * scale)) for side in picture.size)
    left, top = (width - {manifest.image_size}) // 2, (height - {manifest.image_size}) // 2
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    picture = picture.crop((left, top, left + {manifest.image_size}, top + {manifest.image_size}))
    pixels = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255
    return image.run(["embedding"], {{"pixel_values": pixels}})[0][0]


def embed_text(caption):
    ids = tokenizer.encode(caption).ids
    if ids[-1:] != [{manifest.eos_id}] or len(ids) < 2:
        ids = [*ids[:{manifest.context - 1}], {manifest.eos_id}]
    return text.run(["embedding"], {{"input_ids": np.array([ids], np.int32)}})[0][0]"""


def _python(manifest: Manifest) -> str:
    target, precision = manifest.files[0].target, manifest.files[0].precision
    return f"""from conaclip_edge import open_bundle

bundle = open_bundle(".", "{target}", "{precision}")


def embed_picture(path):
    return bundle.embed_images([path])[0]


def embed_text(caption):
    return bundle.embed_texts([caption])[0]"""
