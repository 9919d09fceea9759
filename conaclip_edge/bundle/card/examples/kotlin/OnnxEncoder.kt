// The towers on ONNX Runtime: com.microsoft.onnxruntime:onnxruntime-android

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
class OnnxEncoder(
    bundle: File,
    precision: String,
    threads: Int = 2,
    private val accelerator: (OrtSession.SessionOptions.() -> Unit)? = null,
) : Encoder(bundle, precision), AutoCloseable {
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

    override fun embed(pixels: FloatArray): FloatArray {
        val shape = longArrayOf(1, 3, preprocess.size.toLong(), preprocess.size.toLong())
        return run(image, "pixel_values", OnnxTensor.createTensor(env, FloatBuffer.wrap(pixels), shape))
    }

    override fun embed(ids: IntArray): FloatArray {
        val given = if (accelerator == null) ids else IntArray(context) { ids.getOrElse(it) { pad } }
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
