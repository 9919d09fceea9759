// A word to the ids of its pieces: WordPiece, BPE, and whole words.

package conaclip

internal interface Pieces {
    fun add(word: String, found: MutableList<Int>)
}

internal fun pieces(json: Any?): Pieces = when (json["type"]) {
    "WordPiece" -> WordPiece(json)
    "BPE" -> Bpe(json)
    "WordLevel" -> WholeWords(json)
    else -> throw UnknownPart("model", json)
}

private fun vocabulary(json: Any?): Map<String, Int> {
    val read = json["vocab"] as Map<*, *>
    val made = HashMap<String, Int>(2 * read.size)
    for ((piece, id) in read) made[piece as String] = id.int()
    return made
}

private class WholeWords(json: Any?) : Pieces {
    private val ids = vocabulary(json)
    private val unknown = ids[json["unk_token"] as String]

    override fun add(word: String, found: MutableList<Int>) {
        (ids[word] ?: unknown)?.let { found.add(it) }
    }
}

/** The longest piece that fits, again and again; a word with a part that no piece fits is unknown as a whole. */
private class WordPiece(json: Any?) : Pieces {
    private val ids = vocabulary(json)
    private val unknown = ids.getValue(json["unk_token"] as String)
    private val inside = json["continuing_subword_prefix"] as String
    private val longest = json["max_input_chars_per_word"].int()

    override fun add(word: String, found: MutableList<Int>) {
        val before = found.size
        var start = 0
        val fits = word.codePointCount(0, word.length) <= longest
        while (fits && start < word.length) {
            var end = word.length
            var id: Int? = null
            while (end > start) {
                id = ids[(if (start > 0) inside else "") + word.substring(start, end)]
                if (id != null) break
                end--
            }
            if (id == null) break
            found.add(id)
            start = end
        }
        if (start < word.length) {
            while (found.size > before) found.removeAt(found.size - 1)
            found.add(unknown)
        }
    }
}

/** Joins the two neighbours that were learned first, until none are left to join. */
private class Bpe(json: Any?) : Pieces {
    private class Join(val rank: Int, val id: Int)

    private val ids = vocabulary(json)
    private val unknown = (json["unk_token"] as String?)?.let { ids[it] }
    private val fused = json["fuse_unk"] == true
    private val whole = json["ignore_merges"] == true
    private val inside = json["continuing_subword_prefix"] as String? ?: ""
    private val ending = json["end_of_word_suffix"] as String? ?: ""
    private val joins = HashMap<Long, Join>()
    private val known = HashMap<String, IntArray>() // words that were cut before

    init {
        if (json["byte_fallback"] == true) throw UnknownPart("byte_fallback of model", json)
        json["merges"].items().forEachIndexed { rank, merge ->
            val (left, right) = if (merge is String) merge.split(' ') else merge.items().map { it as String }
            val id = ids.getValue(left + right.removePrefix(inside))
            joins[pair(ids.getValue(left), ids.getValue(right))] = Join(rank, id)
        }
    }

    override fun add(word: String, found: MutableList<Int>) {
        if (known.size > 10_000) known.clear()
        known.getOrPut(word) { cut(word) }.forEach { found.add(it) }
    }

    private fun cut(word: String): IntArray {
        ids[word]?.let { if (whole) return intArrayOf(it) }
        val parts = letters(word)
        while (parts.size > 1) {
            var best: Join? = null
            var place = 0
            for (at in 0 until parts.size - 1) {
                val join = joins[pair(parts[at], parts[at + 1])] ?: continue
                if (best == null || join.rank < best.rank) {
                    best = join
                    place = at
                }
            }
            if (best == null) break
            parts[place] = best.id
            parts.removeAt(place + 1)
        }
        return parts.toIntArray()
    }

    private fun letters(word: String): MutableList<Int> {
        val found = ArrayList<Int>()
        var at = 0
        var strange = false
        while (at < word.length) {
            val next = at + Character.charCount(word.codePointAt(at))
            val letter = word.substring(at, next)
            val id = ids[(if (at > 0) inside else "") + letter + if (next == word.length) ending else ""]
            val again = id == null && strange && fused
            if (!again) (id ?: unknown)?.let { found.add(it) }
            strange = id == null
            at = next
        }
        return found
    }

    private fun pair(left: Int, right: Int): Long = left.toLong() shl 32 or right.toLong()
}
