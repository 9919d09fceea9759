// The towers on ONNX Runtime: com.microsoft.onnxruntime:onnxruntime-android

package conaclip

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer
import java.nio.IntBuffer

/**
 * [threads]: of one call; more than the large cores of a phone makes it slower.
 * [accelerator]: chooses one, as `{ addNnapi() }` does; then the files that are made for accelerators are opened.
 */
class OnnxTowers(
    private val bundle: File,
    private val precision: String,
    threads: Int = 2,
    private val accelerator: (OrtSession.SessionOptions.() -> Unit)? = null,
) : Towers {
    private val facts = Facts(bundle)
    private val size = Preprocess(JsonReader.read(File(bundle, "preprocess.json").readText())).size.toLong()
    private val env = OrtEnvironment.getEnvironment()
    private val options = OrtSession.SessionOptions().apply {
        setIntraOpNumThreads(threads)
        accelerator?.invoke(this)
    }
    private val image = env.createSession(file("image").path, options)
    private val text = env.createSession(file("text").path, options)

    private fun file(tower: String): File {
        val made = File(bundle, "onnx/$tower.$precision.accelerator.onnx")
        return if (accelerator != null && made.exists()) made else File(bundle, "onnx/$tower.$precision.onnx")
    }

    override fun image(pixels: FloatArray): FloatArray {
        val shape = longArrayOf(1, 3, size, size)
        return run(image, "pixel_values", OnnxTensor.createTensor(env, FloatBuffer.wrap(pixels), shape))
    }

    override fun text(ids: IntArray): FloatArray {
        val given = if (accelerator == null) ids else IntArray(facts.context) { ids.getOrElse(it) { facts.pad } }
        val shape = longArrayOf(1, given.size.toLong())
        return run(text, "input_ids", OnnxTensor.createTensor(env, IntBuffer.wrap(given), shape))
    }

    @Suppress("UNCHECKED_CAST")
    private fun run(session: OrtSession, name: String, input: OnnxTensor): FloatArray =
        input.use { session.run(mapOf(name to it)).use { out -> (out[0].value as Array<FloatArray>)[0] } }

    override fun close() {
        image.close()
        text.close()
        options.close()
    }
}
