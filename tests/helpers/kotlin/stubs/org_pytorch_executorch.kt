package org.pytorch.executorch

abstract class Tensor {
    abstract val dataAsFloatArray: FloatArray

    companion object {
        fun fromBlob(data: FloatArray, shape: LongArray): Tensor = TODO("$data $shape")

        fun fromBlob(data: IntArray, shape: LongArray): Tensor = TODO("$data $shape")
    }
}

abstract class EValue {
    abstract fun toTensor(): Tensor

    companion object {
        fun from(tensor: Tensor): EValue = TODO("$tensor")
    }
}

abstract class Module {
    abstract fun forward(vararg inputs: EValue): Array<EValue>

    abstract fun destroy()

    companion object {
        const val LOAD_MODE_MMAP = 1

        fun load(path: String, mode: Int, threads: Int): Module = TODO("$path $mode $threads")
    }
}
