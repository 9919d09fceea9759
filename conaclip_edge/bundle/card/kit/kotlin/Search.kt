// The nearest vectors of an index whose rows are int8 with a scale each: a quarter of the memory of floats.

package conaclip

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** A row of an index and its cosine to the query. */
class Hit(val row: Int, val cosine: Float)

/** Vectors of length 1 as int8, each by the scale that maps its largest number to 127. */
class Index(val dim: Int) {
    private var values = ByteArray(0)
    private var scales = FloatArray(0)

    var size = 0
        private set

    /** Adds a vector and returns its row. */
    fun add(vector: FloatArray): Int {
        require(vector.size == dim) { "a vector of ${vector.size} numbers, the index has $dim" }
        if (size == scales.size) {
            scales = scales.copyOf(max(64, 2 * size))
            values = values.copyOf(scales.size * dim)
        }
        scales[size] = rounded(vector, values, size * dim)
        return size++
    }

    /** The [count] rows with the largest cosines, best first; of equal ones the earlier row. */
    fun nearest(query: FloatArray, count: Int): List<Hit> {
        val rounded = ByteArray(dim)
        val scale = rounded(query, rounded, 0)
        val best = java.util.PriorityQueue<Hit>(compareBy<Hit> { it.cosine }.thenByDescending { it.row })
        for (row in 0 until size) {
            var sum = 0
            val start = row * dim
            for (k in 0 until dim) sum += rounded[k] * values[start + k]
            val cosine = (sum.toDouble() * scales[row] * scale).toFloat()
            if (best.size < count || cosine > best.peek().cosine) {
                best.add(Hit(row, cosine))
                if (best.size > count) best.poll()
            }
        }
        return best.sortedWith(compareByDescending<Hit> { it.cosine }.thenBy { it.row })
    }

    private fun rounded(vector: FloatArray, into: ByteArray, start: Int): Float {
        val most = vector.maxOf { abs(it) }
        val scale = (if (most > 1e-30f) most else 1f) / 127
        for (k in vector.indices) {
            into[start + k] = max(-127.0, min(127.0, Math.rint(vector[k].toDouble() / scale))).toInt().toByte()
        }
        return scale
    }
}
