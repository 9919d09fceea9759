// A small reader of JSON, so that the kit needs no library: objects are Maps, arrays Lists, numbers Doubles.

package conaclip

class JsonReader private constructor(private val text: String) {
    private var at = 0

    companion object {
        /** Reads a whole document. */
        fun read(text: String): Any? {
            val reader = JsonReader(text)
            val value = reader.value()
            reader.space()
            require(reader.at == text.length) { "JSON goes on behind its end, at ${reader.at}" }
            return value
        }
    }

    private fun value(): Any? {
        space()
        return when (val first = text[at]) {
            '{' -> map()
            '[' -> list()
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number(first)
        }
    }

    private fun map(): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        items('}') {
            space()
            val key = string()
            space()
            expect(':')
            found[key] = value()
        }
        return found
    }

    private fun list(): List<Any?> {
        val found = ArrayList<Any?>()
        items(']') { found.add(value()) }
        return found
    }

    private fun items(end: Char, item: () -> Unit) {
        at++
        space()
        if (text[at] == end) {
            at++
            return
        }
        while (true) {
            item()
            space()
            if (text[at++] == end) return
            require(text[at - 1] == ',') { "no JSON at ${at - 1}" }
        }
    }

    private fun string(): String {
        expect('"')
        val start = at
        while (text[at] != '"' && text[at] != '\\') at++
        if (text[at] == '"') return text.substring(start, at++)
        val made = StringBuilder(text.substring(start, at))
        while (text[at] != '"') {
            val char = text[at++]
            made.append(if (char == '\\') escaped() else char)
        }
        at++
        return made.toString()
    }

    private fun escaped(): Char = when (val char = text[at++]) {
        'n' -> '\n'
        't' -> '\t'
        'r' -> '\r'
        'b' -> '\b'
        'f' -> '\u000c'
        'u' -> text.substring(at, at + 4).toInt(16).toChar().also { at += 4 }
        else -> char
    }

    private fun number(first: Char): Double {
        require(first == '-' || first.isDigit()) { "no JSON at $at" }
        val start = at
        while (at < text.length && (text[at].isLetterOrDigit() || text[at] in "+-.")) at++
        return text.substring(start, at).toDouble()
    }

    private fun <T> word(name: String, value: T): T {
        require(text.startsWith(name, at)) { "no JSON at $at" }
        at += name.length
        return value
    }

    private fun expect(char: Char) {
        require(text[at] == char) { "JSON has no $char at $at" }
        at++
    }

    private fun space() {
        while (at < text.length && text[at] in " \t\r\n") at++
    }
}

/** A member of a JSON object; null where it is not there. */
@Suppress("UNCHECKED_CAST")
operator fun Any?.get(key: String): Any? = (this as? Map<String, Any?>)?.getOrDefault(key, null)

/** A JSON array; none is an empty one. */
fun Any?.items(): List<Any?> = (this as? List<*>).orEmpty()

fun Any?.int(): Int = (this as Double).toInt()
