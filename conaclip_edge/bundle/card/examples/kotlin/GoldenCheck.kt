// Does this app do what the export did? Runs the golden texts and pictures of the bundle; call it from a test.

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import org.json.JSONObject

/** A .safetensors file: 8 bytes with the header's length, the header in JSON, then the numbers. */
class Tensors(file: File) {
    private val bytes = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    private val start = 8 + bytes.getLong(0).toInt()
    private val header = JSONObject(String(bytes.array(), 8, start - 8, Charsets.UTF_8))

    fun floats(name: String): FloatArray =
        range(name).let { FloatArray((it.last - it.first + 1) / 4) { k -> bytes.getFloat(it.first + 4 * k) } }

    fun bytes(name: String): ByteArray = bytes.array().sliceArray(range(name))

    private fun range(name: String): IntRange {
        val offsets = header.getJSONObject(name).getJSONArray("data_offsets")
        return start + offsets.getInt(0) until start + offsets.getInt(1)
    }
}

/** What differs from the export, a line each; empty where all is right. */
fun goldenDifferences(encoder: Encoder): List<String> {
    val folder = File(encoder.bundle, "golden")
    val golden = JSONObject(File(folder, "golden.json").readText())
    val numbers = Tensors(File(folder, "golden.safetensors"))
    val leastOfTexts = golden.getJSONObject("min_cosine").getDouble(encoder.precision)
    val leastOfPictures = golden.getJSONObject("picture_min_cosine").getDouble(encoder.precision)
    val tolerance = golden.getDouble("pixel_tolerance") + 1e-6
    val found = mutableListOf<String>()
    fun compare(what: String, mine: FloatArray, all: FloatArray, row: Int, least: Double) {
        val cosine = mine.indices.sumOf { (mine[it] * all[row * encoder.dim + it]).toDouble() }
        if (cosine < least) found += "$what: cosine $cosine"
    }

    val texts = golden.getJSONArray("texts")
    val textEmbeddings = numbers.floats("text.embedding")
    for (row in 0 until texts.length()) {
        val text = texts.getJSONObject(row).getString("text")
        val array = texts.getJSONObject(row).getJSONArray("ids")
        val ids = IntArray(array.length()) { array.getInt(it) }
        if (!encoder.ids(text).contentEquals(ids)) found += "ids of '${text.take(40)}' differ"
        compare("text $row", encoder.embed(ids), textEmbeddings, row, leastOfTexts)
    }
    val pictures = golden.getJSONArray("pictures")
    val pictureEmbeddings = numbers.floats("picture.embedding")
    val levels = numbers.bytes("picture.pixels")
    val area = 3 * encoder.preprocess.size * encoder.preprocess.size
    for (row in 0 until pictures.length()) {
        val name = pictures.getString(row)
        val mine = pixels(File(folder, name).readBytes(), encoder.preprocess)
        val right = FloatArray(area) { (levels[row * area + it].toInt() and 255) / 255f }
        val off = mine.indices.maxOf { abs(mine[it] - right[it]) }
        if (off > tolerance) found += "$name: a pixel is off by ${off * 255} of 255 levels"
        compare(name, encoder.embed(right), pictureEmbeddings, row, leastOfPictures)
    }
    return found
}
