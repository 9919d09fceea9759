package ai.onnxruntime

import java.nio.FloatBuffer
import java.nio.IntBuffer

abstract class OnnxValue : AutoCloseable {
    abstract val value: Any
}

abstract class OnnxTensor : OnnxValue() {
    companion object {
        fun createTensor(env: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor = TODO("$env $data $shape")

        fun createTensor(env: OrtEnvironment, data: IntBuffer, shape: LongArray): OnnxTensor = TODO("$env $data $shape")
    }
}

abstract class OrtEnvironment {
    abstract fun createSession(path: String, options: OrtSession.SessionOptions): OrtSession

    companion object {
        fun getEnvironment(): OrtEnvironment = TODO()
    }
}

abstract class OrtSession : AutoCloseable {
    abstract fun run(inputs: Map<String, OnnxTensor>): Result

    class SessionOptions : AutoCloseable {
        fun setIntraOpNumThreads(threads: Int): Unit = TODO("$threads")

        override fun close() = TODO()
    }

    abstract class Result : AutoCloseable {
        abstract operator fun get(number: Int): OnnxValue
    }
}
