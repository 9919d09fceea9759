// A picture or a text in, a vector of length 1 out; and the nearest vectors of an index.
// OnnxEncoder.kt and ExecutorchEncoder.kt run the towers: take the one whose runtime the app has.

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer
import android.content.Context
import java.io.File
import org.json.JSONObject

/**
 * Copies the bundle from the app's assets to files, which runtimes and tokenizer open by their path.
 *
 * It is copied again when its manifest has changed.
 */
fun bundleFolder(context: Context, asset: String = "bundle"): File {
    val folder = File(context.filesDir, asset)
    val there = File(folder, "manifest.json")
    val manifest = context.assets.open("$asset/manifest.json").use { it.readBytes() }
    if (there.exists() && there.readBytes().contentEquals(manifest)) return folder
    folder.deleteRecursively()
    fun copy(path: String) {
        val inside = context.assets.list(path).orEmpty()
        val file = File(context.filesDir, path)
        if (inside.isNotEmpty()) {
            file.mkdirs()
            inside.filter { it != "manifest.json" }.forEach { copy("$path/$it") }
        } else {
            context.assets.open(path).use { from -> file.outputStream().use { from.copyTo(it) } }
        }
    }
    copy(asset)
    there.writeBytes(manifest) // last: a copy that was broken off is made again
    return folder
}

abstract class Encoder(val bundle: File, val precision: String) {
    private val manifest = JSONObject(File(bundle, "manifest.json").readText())
    private val tokenizer = HuggingFaceTokenizer.newInstance(File(bundle, "tokenizer.json").toPath())
    val preprocess = Preprocess(JSONObject(File(bundle, "preprocess.json").readText()))
    val context: Int = manifest.getInt("context")
    val dim: Int = manifest.getInt("embed_dim")
    private val eos = manifest.getInt("eos_id")
    protected val pad: Int = manifest.getInt("pad_id")
    private val fixedLength = manifest.optBoolean("fixed_length")

    /** [pixels]: red, green and blue plane, each value 0..1 */
    abstract fun embed(pixels: FloatArray): FloatArray

    /** [ids]: at most [context], the last one the end of the text, not padded; or [context] of a fixed length */
    abstract fun embed(ids: IntArray): FloatArray

    fun embed(picture: ByteArray): FloatArray = embed(pixels(picture, preprocess))

    fun embed(text: String): FloatArray = embed(ids(text))

    /** Texts that are too long are cut, and the last id stays the end of the text. */
    fun ids(text: String): IntArray {
        val ids = tokenizer.encode(text).ids.map { it.toInt() }
        if (fixedLength) {
            val cut = if (ids.size > context) ids.take(context - 1) + eos else ids
            return IntArray(context) { cut.getOrElse(it) { pad } }
        }
        val whole = ids.size in 2..context && ids.last() == eos
        return (if (whole) ids else ids.take(context - 1) + eos).toIntArray()
    }
}

/** The rows of an index that are nearest to a query, best first, with their cosines; all vectors have length 1. */
fun nearest(query: FloatArray, index: FloatArray, count: Int): List<Pair<Int, Float>> {
    val cosines = FloatArray(index.size / query.size) { row ->
        var sum = 0f
        for (k in query.indices) sum += query[k] * index[row * query.size + k]
        sum
    }
    return cosines.indices.sortedByDescending { cosines[it] }.take(count).map { it to cosines[it] }
}
