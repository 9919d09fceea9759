// From an encoded picture to what the image tower takes, step by step as preprocess.json says. Needs API 28.

import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import org.json.JSONObject

/** The part of preprocess.json that differs between models. */
class Preprocess(json: JSONObject) {
    val size: Int = json.getInt("size")
    val filter: String = json.getJSONObject("resize").getString("filter") // bicubic (a = -0.5) or bilinear
    val crop: Boolean = !json.isNull("crop") // shorter side to size, then the centre is cut out; or both sides to size
}

/** Decodes a picture: EXIF orientation applied, colours in sRGB. */
fun decoded(picture: ByteArray): Bitmap =
    ImageDecoder.decodeBitmap(ImageDecoder.createSource(ByteBuffer.wrap(picture))) { decoder, _, _ ->
        decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE // its pixels are read below
        decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
    }

/** The image tower's input: red, green and blue plane, each value 0..1. */
fun pixels(picture: ByteArray, preprocess: Preprocess): FloatArray {
    val bitmap = decoded(picture)
    val argb = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return pixels(argb, bitmap.width, bitmap.height, preprocess.size, preprocess.crop, preprocess.filter)
}

/** Where an output pixel looks: its value is the sum of weights[k] * input[start + k]. */
class Tap(val start: Int, val weights: FloatArray)

/**
 * Weights that scale [length] pixels to [scaled], for the output pixels of [wanted].
 *
 * Antialiased: the filter is as much wider as the picture gets smaller.
 */
fun taps(length: Int, scaled: Int, wanted: IntRange, filter: String): List<Tap> {
    val step = length.toDouble() / scaled
    val widen = max(step, 1.0)
    val support = (if (filter == "bicubic") 2 else 1) * widen
    return wanted.map { index ->
        val center = (index + 0.5) * step
        val first = max(0, (center - support + 0.5).toInt())
        val last = min(length, (center + support + 0.5).toInt())
        val raw = DoubleArray(last - first) { kernel((it + first - center + 0.5) / widen, filter) }
        val sum = raw.sum()
        Tap(first, FloatArray(raw.size) { (raw[it] / sum).toFloat() })
    }
}

fun kernel(distance: Double, filter: String): Double {
    val x = abs(distance)
    if (filter != "bicubic") return if (x < 1) 1 - x else 0.0
    val a = -0.5
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
    return if (x < 2) (((x - 5) * x + 8) * x - 4) * a else 0.0
}

fun pixels(argb: IntArray, width: Int, height: Int, size: Int, crop: Boolean, filter: String): FloatArray {
    val scale = size.toDouble() / min(width, height)
    val wide = if (crop) max(size, round(width * scale).toInt()) else size
    val high = if (crop) max(size, round(height * scale).toInt()) else size
    val left = (wide - size) / 2
    val top = (high - size) / 2
    val columns = taps(width, wide, left until left + size, filter)
    val rows = taps(height, high, top until top + size, filter)

    // along the rows first, rounded to whole levels as the training did, then down the columns
    val narrow = FloatArray(3 * height * size) // [3, height, size]
    val last = rows[size - 1]
    val row = FloatArray(3 * width)
    for (y in rows[0].start until last.start + last.weights.size) {
        for (x in 0 until width) {
            val color = argb[y * width + x]
            val alpha = color ushr 24
            for (channel in 0 until 3) { // white behind transparency
                val value = color shr (16 - 8 * channel) and 255
                val opaque = level((value * alpha + 255 * (255 - alpha)) / 255f)
                row[channel * width + x] = if (alpha == 255) value.toFloat() else opaque
            }
        }
        for (channel in 0 until 3) {
            for (x in 0 until size) {
                val tap = columns[x]
                var value = 0f
                for (k in tap.weights.indices) value += tap.weights[k] * row[channel * width + tap.start + k]
                narrow[(channel * height + y) * size + x] = level(value)
            }
        }
    }
    val planes = FloatArray(3 * size * size)
    for (channel in 0 until 3) {
        for (y in 0 until size) {
            val tap = rows[y]
            for (x in 0 until size) {
                var value = 0f
                for (k in tap.weights.indices) {
                    value += tap.weights[k] * narrow[(channel * height + tap.start + k) * size + x]
                }
                planes[(channel * size + y) * size + x] = level(value) / 255
            }
        }
    }
    return planes
}

private fun level(value: Float): Float = min(255f, max(0f, floor(value + 0.5f)))
