// Texts to ids by tokenizer.json, for WordPiece (BERT's) and BPE (CLIP's, GPT-2's); nothing but the JVM is needed.
// A file with other parts is refused by their names: ai.djl.huggingface:tokenizers reads all of them.

package conaclip

import java.io.File

class Tokenizer(file: File) {
    private val json = JsonReader.read(file.readText())
    private val normalizer = normalizer(json["normalizer"])
    private val splitter = splitter(json["pre_tokenizer"])
    private val model = pieces(json["model"])
    private val frame = frame(json["post_processor"])
    private val longest = json["truncation"]?.let { it["max_length"].int() } ?: Int.MAX_VALUE
    private val added = json["added_tokens"].items().map { AddedToken(it) }.sortedByDescending { it.text.length }
    private val beforeNormalizing = added.filter { !it.normalized }
    private val afterNormalizing = added.filter { it.normalized }

    /** The ids of a text: cut to the file's length, with what begins and ends every text. */
    fun ids(text: String): IntArray {
        val found = ArrayList<Int>()
        split(whole(text), beforeNormalizing, found) { part ->
            split(normalizer(part), afterNormalizing, found) { plain ->
                for (word in splitter(plain)) model.add(word, found)
            }
        }
        val room = longest - frame.size
        return frame.around(if (found.size > room) found.subList(0, maxOf(0, room)) else found).toIntArray()
    }

    /** Looks for added tokens, the longest first, and gives what lies between them to [rest]. */
    private fun split(text: String, tokens: List<AddedToken>, found: MutableList<Int>, rest: (String) -> Unit) {
        var start = 0
        var at = 0
        while (at < text.length) {
            val token = tokens.firstOrNull { it.at(text, at) }
            if (token == null) {
                at++
                continue
            }
            var (from, to) = at to at + token.text.length
            if (token.lstrip) while (from > start && isSpace(text[from - 1].code)) from--
            if (token.rstrip) while (to < text.length && isSpace(text[to].code)) to++
            if (from > start) rest(text.substring(start, from))
            found.add(token.id)
            start = to
            at = to
        }
        if (start < text.length) rest(text.substring(start))
    }

    private class AddedToken(json: Any?) {
        val text = json["content"] as String
        val id = json["id"].int()
        val normalized = json["normalized"] == true
        val lstrip = json["lstrip"] == true
        val rstrip = json["rstrip"] == true
        private val alone = json["single_word"] == true

        fun at(given: String, place: Int): Boolean {
            if (!given.startsWith(text, place)) return false
            val end = place + text.length
            val before = place > 0 && inWord(given[place - 1])
            return !alone || !before && !(end < given.length && inWord(given[end]))
        }

        private fun inWord(char: Char) = char.isLetterOrDigit() || char == '_'
    }

    private companion object {
        /** Halves of surrogate pairs, which no encoding holds, become U+FFFD. */
        fun whole(text: String): String {
            val made = StringBuilder(text)
            for (at in text.indices) {
                val pair = text[at].isHighSurrogate() && at + 1 < text.length && text[at + 1].isLowSurrogate()
                val second = at > 0 && text[at].isLowSurrogate() && text[at - 1].isHighSurrogate()
                if (text[at].isSurrogate() && !pair && !second) made.setCharAt(at, '\ufffd')
            }
            return made.toString()
        }
    }
}

/** A part of tokenizer.json that this reader does not know. */
class UnknownPart(what: String, json: Any?) :
    IllegalArgumentException("$what '${json["type"]}' of tokenizer.json is not known here: use DJL's tokenizers")

/** The ids before and behind those of a text. */
internal class Frame(private val before: List<Int>, private val behind: List<Int>) {
    val size = before.size + behind.size

    fun around(ids: List<Int>): List<Int> = before + ids + behind

    /** This frame, and another one around it. */
    fun inside(outer: Frame) = Frame(outer.before + before, behind + outer.behind)
}

private fun frame(json: Any?): Frame = when (json["type"]) {
    null, "ByteLevel" -> Frame(listOf(), listOf())
    "Sequence" -> json["processors"].items().fold(Frame(listOf(), listOf())) { made, one -> made.inside(frame(one)) }
    "RobertaProcessing", "BertProcessing" -> {
        val (begin, end) = listOf("cls", "sep").map { json[it].items()[1].int() }
        Frame(listOf(begin), listOf(end))
    }
    "TemplateProcessing" -> {
        val parts = json["single"].items()
        val text = parts.indexOfFirst { it["Sequence"] != null }
        val ids = { some: List<Any?> ->
            some.flatMap { json["special_tokens"][it["SpecialToken"]["id"] as String]["ids"].items() }.map { it.int() }
        }
        Frame(ids(parts.take(text)), ids(parts.drop(text + 1)))
    }
    else -> throw UnknownPart("post_processor", json)
}
