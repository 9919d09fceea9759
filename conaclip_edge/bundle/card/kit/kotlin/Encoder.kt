// A picture or a text in, a vector of length 1 out. What runs the towers is behind an interface: OnnxTowers.kt and
// ExecutorchTowers.kt have one each; take the one whose runtime the app has.

package conaclip

import java.io.File

/** Both towers of a bundle. Keep one, and call it from one thread. */
interface Towers : AutoCloseable {
    /** [pixels]: red, green and blue plane, each value 0..1 */
    fun image(pixels: FloatArray): FloatArray

    /** [ids]: at most the context, the last one the end of the text, not padded; or the context of a fixed length */
    fun text(ids: IntArray): FloatArray
}

/** The facts of manifest.json that an app needs. */
class Facts(bundle: File) {
    private val json = JsonReader.read(File(bundle, "manifest.json").readText())
    val context = json["context"].int()
    val dim = json["embed_dim"].int()
    val eos = json["eos_id"].int()
    val pad = json["pad_id"].int()
    val fixedLength = json["fixed_length"] == true
}

/**
 * [precision]: of the files that the towers run: int8, fp16 or fp32.
 * [tokenize]: a text to ids with its end; another library's in place of the kit's, where that does not know the file.
 */
class Encoder(
    val bundle: File,
    val precision: String,
    private val towers: Towers,
    private val tokenize: (String) -> IntArray = Tokenizer(File(bundle, "tokenizer.json"))::ids,
) {
    private val facts = Facts(bundle)
    val dim = facts.dim
    val preprocess = Preprocess(JsonReader.read(File(bundle, "preprocess.json").readText()))

    fun embed(picture: Picture): FloatArray = towers.image(pixels(picture, preprocess))

    fun embed(text: String): FloatArray = towers.text(ids(text))

    fun embedPixels(pixels: FloatArray): FloatArray = towers.image(pixels)

    fun embedIds(ids: IntArray): FloatArray = towers.text(ids)

    /** Texts that are too long are cut, and the last id stays the end of the text. */
    fun ids(text: String): IntArray {
        val ids = tokenize(text)
        if (facts.fixedLength) {
            val cut = if (ids.size > facts.context) ids.copyOf(facts.context - 1) + facts.eos else ids
            return IntArray(facts.context) { cut.getOrElse(it) { facts.pad } }
        }
        val whole = ids.size in 2..facts.context && ids.last() == facts.eos
        return if (whole) ids else ids.take(facts.context - 1).toIntArray() + facts.eos
    }
}
