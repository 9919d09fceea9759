// Runs the kit for the tests: the first argument says what, answers go to standard output, a line each.

import conaclip.Encoder
import conaclip.Index
import conaclip.JsonReader
import conaclip.Picture
import conaclip.Preprocess
import conaclip.Tensors
import conaclip.Tokenizer
import conaclip.Towers
import conaclip.get
import conaclip.goldenDifferences
import conaclip.items
import conaclip.pixels
import java.io.DataInputStream
import java.io.File

fun main(arguments: Array<String>) {
    val given = arguments.drop(1)
    when (arguments[0]) {
        "ids" -> ids(File(given[0]), File(given[1]))
        "pixels" -> pictures(File(given[0]), File(given[1]), given.drop(2))
        "golden" -> golden(File(given[0]), File(given[1]), given[2].toFloat())
        "search" -> search(File(given[0]), given[1])
    }
}

private fun ids(tokenizer: File, texts: File) {
    val read = Tokenizer(tokenizer)
    JsonReader.read(texts.readText()).items().forEach { println(read.ids(it as String).joinToString(" ")) }
}

private fun pictures(preprocess: File, folder: File, names: List<String>) {
    val how = Preprocess(JsonReader.read(preprocess.readText()))
    for (name in names) {
        val levels = pixels(raw(File(folder, name)), how).map { Math.round(it * 255).toByte() }
        File(folder, "$name.levels").writeBytes(levels.toByteArray())
    }
}

/** A picture as the test decoded it: width, height, then a number for each pixel. */
private fun raw(file: File): Picture = DataInputStream(file.inputStream().buffered()).use { stream ->
    val (width, height) = stream.readInt() to stream.readInt()
    Picture(IntArray(width * height) { stream.readInt() }, width, height)
}

/** [length]: of the golden embeddings as the check sees them; less than 1 makes all cosines wrong. */
private fun golden(bundle: File, folder: File, length: Float) {
    val tensors = Tensors(File(bundle, "golden/golden.safetensors"))
    val width = (JsonReader.read(File(bundle, "manifest.json").readText())["embed_dim"] as Double).toInt()
    val towers = object : Towers {
        private val rows = HashMap<String, Int>()

        override fun image(pixels: FloatArray) = row("picture")

        override fun text(ids: IntArray) = row("text")

        override fun close() {}

        private fun row(tower: String): FloatArray {
            val start = rows.merge(tower, 1, Int::plus)!! * width - width
            return tensors.floats("$tower.embedding").copyOfRange(start, start + width).map { it * length }.toFloatArray()
        }
    }
    goldenDifferences(Encoder(bundle, "int8", towers)) { raw(File(folder, it.name)) }.forEach(::println)
}

private fun search(rows: File, question: String) {
    val lists = JsonReader.read(rows.readText()).items().map { row -> row.numbers() }
    val index = Index(lists[0].size)
    lists.forEach { index.add(it) }
    val asked = JsonReader.read(question)
    for (query in asked["queries"].items()) {
        println(index.nearest(query.numbers(), 5).joinToString(" ") { "${it.row} ${it.cosine}" })
    }
}

private fun Any?.numbers() = items().map { (it as Double).toFloat() }.toFloatArray()
