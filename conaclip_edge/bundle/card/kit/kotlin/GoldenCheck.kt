// Does this app do what the export did? Runs the golden texts and pictures of the bundle; call it from a test.

package conaclip

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

/** A .safetensors file: 8 bytes with the header's length, the header in JSON, then the numbers. */
class Tensors(file: File) {
    private val bytes = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    private val start = 8 + bytes.getLong(0).toInt()
    private val header = JsonReader.read(String(bytes.array(), 8, start - 8, Charsets.UTF_8))

    fun floats(name: String): FloatArray =
        range(name).let { FloatArray((it.last - it.first + 1) / 4) { k -> bytes.getFloat(it.first + 4 * k) } }

    fun bytes(name: String): ByteArray = bytes.array().sliceArray(range(name))

    private fun range(name: String): IntRange {
        val offsets = header[name]["data_offsets"].items()
        return start + offsets[0].int() until start + offsets[1].int()
    }
}

/**
 * What differs from the export, a line each; empty where all is right.
 *
 * [decode]: an encoded picture as the app decodes it: `decoded` of AndroidPictures.kt.
 */
fun goldenDifferences(encoder: Encoder, decode: (File) -> Picture): List<String> {
    val folder = File(encoder.bundle, "golden")
    val golden = JsonReader.read(File(folder, "golden.json").readText())
    val numbers = Tensors(File(folder, "golden.safetensors"))
    val tolerance = golden["pixel_tolerance"] as Double + 1e-6
    val found = mutableListOf<String>()
    fun compare(what: String, mine: FloatArray, all: FloatArray, row: Int, least: Any?) {
        val cosine = mine.indices.sumOf { (mine[it] * all[row * encoder.dim + it]).toDouble() }
        if (cosine < least as Double) found += "$what: cosine $cosine"
    }

    val textEmbeddings = numbers.floats("text.embedding")
    golden["texts"].items().forEachIndexed { row, entry ->
        val text = entry["text"] as String
        val ids = entry["ids"].items().map { it.int() }.toIntArray()
        if (!encoder.ids(text).contentEquals(ids)) found += "ids of '${text.take(40)}' differ"
        compare("text $row", encoder.embedIds(ids), textEmbeddings, row, golden["min_cosine"][encoder.precision])
    }
    val pictureEmbeddings = numbers.floats("picture.embedding")
    val levels = numbers.bytes("picture.pixels")
    val area = 3 * encoder.preprocess.size * encoder.preprocess.size
    golden["pictures"].items().forEachIndexed { row, name ->
        val mine = pixels(decode(File(folder, name as String)), encoder.preprocess)
        val right = FloatArray(area) { (levels[row * area + it].toInt() and 255) / 255f }
        val off = mine.indices.maxOf { abs(mine[it] - right[it]) }
        if (off > tolerance) found += "$name: a pixel is off by ${off * 255} of 255 levels"
        val least = golden["picture_min_cosine"][encoder.precision]
        compare(name, encoder.embedPixels(right), pictureEmbeddings, row, least)
    }
    return found
}
