// The towers on ExecuTorch: org.pytorch:executorch-android

package conaclip

import java.io.File
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** [threads]: of one call; 0 leaves it to ExecuTorch. */
class ExecutorchTowers(private val bundle: File, precision: String, threads: Int = 2) : Towers {
    private val size = Preprocess(JsonReader.read(File(bundle, "preprocess.json").readText())).size.toLong()
    private val image = open("executorch/image.$precision.pte", threads)
    private val text = open("executorch/text.$precision.pte", threads)

    override fun image(pixels: FloatArray): FloatArray =
        run(image, Tensor.fromBlob(pixels, longArrayOf(1, 3, size, size)))

    override fun text(ids: IntArray): FloatArray = run(text, Tensor.fromBlob(ids, longArrayOf(1, ids.size.toLong())))

    private fun open(path: String, threads: Int): Module =
        Module.load(File(bundle, path).path, Module.LOAD_MODE_MMAP, threads)

    private fun run(module: Module, input: Tensor): FloatArray =
        module.forward(EValue.from(input))[0].toTensor().dataAsFloatArray

    override fun close() {
        image.destroy()
        text.destroy()
    }
}
