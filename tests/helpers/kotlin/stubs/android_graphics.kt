package android.graphics

import java.nio.ByteBuffer

abstract class Bitmap {
    abstract val width: Int
    abstract val height: Int

    abstract fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int)
}

abstract class ColorSpace {
    enum class Named { SRGB }

    companion object {
        fun get(name: Named): ColorSpace = TODO(name.name)
    }
}

abstract class ImageDecoder {
    abstract class Source

    abstract class ImageInfo

    fun interface OnHeaderDecodedListener {
        fun onHeaderDecoded(decoder: ImageDecoder, info: ImageInfo, source: Source)
    }

    abstract var allocator: Int

    abstract fun setTargetColorSpace(space: ColorSpace)

    companion object {
        const val ALLOCATOR_SOFTWARE = 1

        fun createSource(bytes: ByteBuffer): Source = TODO("$bytes")

        fun decodeBitmap(source: Source, listener: OnHeaderDecodedListener): Bitmap = TODO("$source $listener")
    }
}
