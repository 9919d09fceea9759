// The towers on ONNX Runtime: com.microsoft.onnxruntime:onnxruntime-android

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer
import java.nio.IntBuffer

/** [threads]: of one call; more than the large cores of a phone makes it slower. */
class OnnxEncoder(bundle: File, precision: String, threads: Int = 2) : Encoder(bundle, precision), AutoCloseable {
    private val env = OrtEnvironment.getEnvironment()
    private val options = OrtSession.SessionOptions().apply { setIntraOpNumThreads(threads) }
    private val image = env.createSession(File(bundle, "onnx/image.$precision.onnx").path, options)
    private val text = env.createSession(File(bundle, "onnx/text.$precision.onnx").path, options)

    override fun embed(pixels: FloatArray): FloatArray {
        val shape = longArrayOf(1, 3, preprocess.size.toLong(), preprocess.size.toLong())
        return run(image, "pixel_values", OnnxTensor.createTensor(env, FloatBuffer.wrap(pixels), shape))
    }

    override fun embed(ids: IntArray): FloatArray {
        val shape = longArrayOf(1, ids.size.toLong())
        return run(text, "input_ids", OnnxTensor.createTensor(env, IntBuffer.wrap(ids), shape))
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
