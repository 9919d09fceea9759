// From a decoded picture to what the image tower takes, step by step as preprocess.json says.

package conaclip

import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/** A decoded picture: upright, colours in sRGB, each pixel 0xAARRGGBB, not premultiplied; row after row. */
class Picture(val argb: IntArray, val width: Int, val height: Int)

/** The part of preprocess.json that differs between models. */
class Preprocess(val size: Int, val crop: Boolean, val filter: String) {
    constructor(json: Any?) : this(
        json["size"].int(),
        json["crop"] != null, // shorter side to size, then the centre is cut out; or both sides to size
        json["resize"]["filter"] as String, // bicubic (a = -0.5) or bilinear
    )
}

/** Where an output pixel looks: its value is the sum of weights[k] * input[start + k]. */
class Tap(val start: Int, val weights: FloatArray) {
    val end get() = start + weights.size
}

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

/** The image tower's input: red, green and blue plane, each value 0..1. */
fun pixels(picture: Picture, preprocess: Preprocess): FloatArray {
    val (size, crop, filter) = Triple(preprocess.size, preprocess.crop, preprocess.filter)
    val (argb, width, height) = Triple(picture.argb, picture.width, picture.height)
    val scale = size.toDouble() / min(width, height)
    val wide = if (crop) max(size, round(width * scale).toInt()) else size
    val high = if (crop) max(size, round(height * scale).toInt()) else size
    val left = (wide - size) / 2
    val top = (high - size) / 2
    val columns = taps(width, wide, left until left + size, filter)
    val rows = taps(height, high, top until top + size, filter)

    // both steps round to whole levels, so their order shows where a level is cut off at 0 or 255; this is how
    // Pillow 13 chooses it, older versions went along the rows first
    val down = height > high && height - high > 2 * (width - wide)
    val values = if (down) downThenAlong(picture, rows, columns) else alongThenDown(picture, rows, columns)
    for (at in values.indices) values[at] /= 255f
    return values
}

private fun alongThenDown(picture: Picture, rows: List<Tap>, columns: List<Tap>): FloatArray {
    val (wide, height) = columns.size to picture.height
    val narrow = FloatArray(3 * height * wide) // [3, height, wide]
    val sums = FloatArray(3)
    for (y in rows[0].start until rows.last().end) {
        for ((x, tap) in columns.withIndex()) {
            sums.fill(0f)
            for ((k, weight) in tap.weights.withIndex()) picture.add(y * picture.width + tap.start + k, weight, sums)
            for (channel in 0 until 3) narrow[(channel * height + y) * wide + x] = level(sums[channel])
        }
    }
    return planes(rows.size, wide) { channel, y, x ->
        var value = 0f
        for ((k, weight) in rows[y].weights.withIndex()) {
            value += weight * narrow[(channel * height + rows[y].start + k) * wide + x]
        }
        value
    }
}

private fun downThenAlong(picture: Picture, rows: List<Tap>, columns: List<Tap>): FloatArray {
    val (high, width) = rows.size to picture.width
    val short = FloatArray(3 * high * width) // [3, high, width]
    val sums = FloatArray(3)
    for ((y, tap) in rows.withIndex()) {
        for (x in columns[0].start until columns.last().end) {
            sums.fill(0f)
            for ((k, weight) in tap.weights.withIndex()) picture.add((tap.start + k) * width + x, weight, sums)
            for (channel in 0 until 3) short[(channel * high + y) * width + x] = level(sums[channel])
        }
    }
    return planes(high, columns.size) { channel, y, x ->
        var value = 0f
        for ((k, weight) in columns[x].weights.withIndex()) {
            value += weight * short[(channel * high + y) * width + columns[x].start + k]
        }
        value
    }
}

/** Adds a pixel, laid over white, to the sums of red, green and blue. */
private fun Picture.add(at: Int, weight: Float, sums: FloatArray) {
    val color = argb[at]
    val alpha = color ushr 24
    for (channel in 0 until 3) {
        val value = color shr (16 - 8 * channel) and 255
        val opaque = if (alpha == 255) value.toFloat() else level((value * alpha + 255 * (255 - alpha)) / 255f)
        sums[channel] += weight * opaque
    }
}

private inline fun planes(high: Int, wide: Int, value: (channel: Int, y: Int, x: Int) -> Float): FloatArray {
    val made = FloatArray(3 * high * wide)
    for (channel in 0 until 3) {
        for (y in 0 until high) {
            for (x in 0 until wide) made[(channel * high + y) * wide + x] = level(value(channel, y, x))
        }
    }
    return made
}

private fun level(value: Float): Float = min(255f, max(0f, floor(value + 0.5f)))
