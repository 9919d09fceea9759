// What tokenizer.json does to a text before its words are cut into pieces: normalizers and pre-tokenizers.

package conaclip

import java.text.Normalizer
import java.util.Locale

internal fun normalizer(json: Any?): (String) -> String = when (json["type"]) {
    null -> { text -> text }
    "Sequence" -> {
        val steps = json["normalizers"].items().map { normalizer(it) }
        val all = { text: String -> steps.fold(text) { made, step -> step(made) } }
        all
    }
    "NFC", "NFD", "NFKC", "NFKD" -> {
        val form = Normalizer.Form.valueOf(json["type"] as String)
        val whole = { text: String -> Normalizer.normalize(text, form) }
        whole
    }
    "Lowercase" -> ::lowercase
    "StripAccents" -> ::withoutMarks
    "Strip" -> { text -> text.trim { isSpace(it.code) } }
    "Prepend" -> { text -> if (text.isEmpty()) text else json["prepend"] as String + text }
    "Replace" -> {
        val pattern = pattern(json["pattern"])
        val content = Regex.escapeReplacement(json["content"] as String)
        val replace = { text: String -> pattern.replace(text, content) }
        replace
    }
    "BertNormalizer" -> bert(json)
    else -> throw UnknownPart("normalizer", json)
}

private fun bert(json: Any?): (String) -> String {
    val lower = json["lowercase"] == true
    val bare = (json["strip_accents"] ?: lower) == true
    return { given ->
        var text = given
        if (json["clean_text"] == true) text = eachCodePoint(text) { code, made -> clean(code, made) }
        if (json["handle_chinese_chars"] == true) {
            text = eachCodePoint(text) { code, made ->
                if (isChinese(code)) made.append(' ').appendCodePoint(code).append(' ') else made.appendCodePoint(code)
            }
        }
        if (bare) text = withoutMarks(Normalizer.normalize(text, Normalizer.Form.NFD))
        if (lower) lowercase(text) else text
    }
}

private fun clean(code: Int, made: StringBuilder) {
    val dropped = when (Character.getType(code).toByte()) {
        Character.CONTROL -> code != 9 && code != 10 && code != 13 // tab and ends of lines are spaces
        Character.FORMAT, Character.PRIVATE_USE, Character.SURROGATE -> true
        else -> code == 0xfffd
    }
    if (!dropped) made.appendCodePoint(if (isSpace(code)) 32 else code)
}

private fun isChinese(code: Int) = code in 0x4e00..0x9fff || code in 0x3400..0x4dbf || code in 0x20000..0x2a6df ||
    code in 0x2a700..0x2b73f || code in 0x2b740..0x2b81f || code in 0x2b920..0x2ceaf || code in 0xf900..0xfaff ||
    code in 0x2f800..0x2fa1f

/** Each code point alone: Java's own lower case of a whole text looks at neighbours. */
private fun lowercase(text: String): String = eachCodePoint(text) { code, made ->
    made.append(String(Character.toChars(code)).lowercase(Locale.ROOT))
}

private fun withoutMarks(text: String): String = eachCodePoint(text) { code, made ->
    if (Character.getType(code).toByte() != Character.NON_SPACING_MARK) made.appendCodePoint(code)
}

private inline fun eachCodePoint(text: String, step: (Int, StringBuilder) -> Unit): String {
    val made = StringBuilder(text.length)
    var at = 0
    while (at < text.length) {
        val code = text.codePointAt(at)
        step(code, made)
        at += Character.charCount(code)
    }
    return made.toString()
}

internal fun splitter(json: Any?): (String) -> List<String> = when (json["type"]) {
    null -> { text -> listOf(text) }
    "Sequence" -> {
        val steps = json["pretokenizers"].items().map { splitter(it) }
        val all = { text: String -> steps.fold(listOf(text)) { words, step -> words.flatMap(step) } }
        all
    }
    "WhitespaceSplit" -> { text -> words(text, { false }) }
    "BertPreTokenizer" -> { text -> words(text, ::isPunctuation) }
    "Punctuation" -> { text -> words(text, ::isPunctuation, keepSpaces = true) }
    "Split" -> {
        val pattern = pattern(json["pattern"])
        val kept = json["behavior"] != "Removed"
        val inverted = json["invert"] == true
        if (kept && json["behavior"] != "Isolated") throw UnknownPart("behaviour ${json["behavior"]} of", json)
        val cut = { text: String -> cut(text, pattern, matches = kept || inverted, between = kept || !inverted) }
        cut
    }
    "ByteLevel" -> byteLevel(json)
    else -> throw UnknownPart("pre_tokenizer", json)
}

/** Splits at white space, which is left out, and around characters that stand alone. */
private fun words(text: String, alone: (Int) -> Boolean, keepSpaces: Boolean = false): List<String> {
    val found = ArrayList<String>()
    val word = StringBuilder()
    val end = {
        if (word.isNotEmpty()) found.add(word.toString())
        word.setLength(0)
    }
    var at = 0
    while (at < text.length) {
        val code = text.codePointAt(at)
        at += Character.charCount(code)
        val space = !keepSpaces && isSpace(code)
        if (space || alone(code)) end()
        if (!space) word.appendCodePoint(code)
        if (!space && alone(code)) end()
    }
    end()
    return found
}

private fun cut(text: String, pattern: Regex, matches: Boolean, between: Boolean): List<String> {
    val found = ArrayList<String>()
    var start = 0
    for (match in pattern.findAll(text)) {
        if (between && match.range.first > start) found.add(text.substring(start, match.range.first))
        if (matches && match.value.isNotEmpty()) found.add(match.value)
        start = match.range.last + 1
    }
    if (between && start < text.length) found.add(text.substring(start))
    return found
}

private const val GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

private fun byteLevel(json: Any?): (String) -> List<String> {
    val pattern = Regex(unicode(GPT2))
    val begin = json["add_prefix_space"] == true
    val whole = json["use_regex"] == false
    return { given ->
        val text = if (begin && !given.startsWith(" ")) " $given" else given
        val parts = if (whole) listOf(text) else cut(text, pattern, matches = true, between = true)
        parts.map { part ->
            val made = StringBuilder()
            for (byte in part.toByteArray(Charsets.UTF_8)) made.append(VISIBLE[byte.toInt() and 255])
            made.toString()
        }
    }
}

/** GPT-2's letters for bytes: printable ones stand for themselves, the others follow behind 255. */
private val VISIBLE: CharArray = run {
    val printable = (33..126) + (161..172) + (174..255)
    val letters = CharArray(256)
    printable.forEach { letters[it] = it.toChar() }
    (0..255).filter { it !in printable }.forEachIndexed { number, byte -> letters[byte] = (256 + number).toChar() }
    letters
}

private fun pattern(json: Any?): Regex {
    val literal = json["String"] as String?
    return Regex(if (literal != null) Regex.escape(literal) else unicode(json["Regex"] as String))
}

private const val SPACES = "\\t-\\r\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"

/** Writes \s and \S out: they mean ASCII to Java and all of Unicode to Android and to the file. */
private fun unicode(pattern: String): String {
    val made = StringBuilder()
    var inside = false
    var at = 0
    while (at < pattern.length) {
        val two = pattern.substring(at, minOf(at + 2, pattern.length))
        when {
            two == "\\s" -> made.append(if (inside) SPACES else "[$SPACES]")
            two == "\\S" -> made.append("[^$SPACES]")
            two[0] == '\\' -> made.append(two)
            else -> made.append(two[0])
        }
        if (two[0] == '[') inside = true
        if (two[0] == ']') inside = false
        at += if (two[0] == '\\') 2 else 1
    }
    return made.toString()
}

internal fun isSpace(code: Int) = code in 9..13 || code == 32 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
    code in 0x2000..0x200a || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000

private fun isPunctuation(code: Int): Boolean =
    code in 33..47 || code in 58..64 || code in 91..96 || code in 123..126 ||
        when (Character.getType(code).toByte()) {
            Character.CONNECTOR_PUNCTUATION, Character.DASH_PUNCTUATION, Character.START_PUNCTUATION,
            Character.END_PUNCTUATION, Character.INITIAL_QUOTE_PUNCTUATION, Character.FINAL_QUOTE_PUNCTUATION,
            Character.OTHER_PUNCTUATION -> true
            else -> false
        }
