// The nearest vectors of an index whose rows are int8 with a scale each: a quarter of the memory of floats.
// Not compiled where this bundle was made.

import Foundation

/// A row of an index and its cosine to the query.
struct Hit {
    let row: Int
    let cosine: Float
}

/// Vectors of length 1 as int8, each by the scale that maps its largest number to 127.
struct Index {
    let dim: Int
    private var values: [Int8] = []
    private var scales: [Float] = []

    var count: Int { scales.count }

    init(dim: Int) { self.dim = dim }

    /// Adds a vector; its row is the number of those before it.
    mutating func add(_ vector: [Float]) {
        precondition(vector.count == dim, "the index has vectors of \(dim) numbers")
        let (rounded, scale) = Index.rounded(vector)
        values += rounded
        scales.append(scale)
    }

    /// The rows with the largest cosines, best first; of equal ones the earlier row.
    func nearest(_ query: [Float], count wanted: Int) -> [Hit] {
        let (rounded, scale) = Index.rounded(query)
        var hits: [Hit] = []
        hits.reserveCapacity(count)
        values.withUnsafeBufferPointer { memory in
            for row in 0..<count {
                var sum: Int32 = 0
                for k in 0..<dim { sum += Int32(rounded[k]) * Int32(memory[row * dim + k]) }
                hits.append(Hit(row: row, cosine: Float(Double(sum) * Double(scales[row]) * Double(scale))))
            }
        }
        hits.sort { $0.cosine != $1.cosine ? $0.cosine > $1.cosine : $0.row < $1.row }
        return Array(hits.prefix(wanted))
    }

    private static func rounded(_ vector: [Float]) -> ([Int8], Float) {
        let most = vector.map(abs).max() ?? 0
        let scale = (most > 1e-30 ? most : 1) / 127
        let values = vector.map { Int8(max(-127, min(127, (Double($0) / Double(scale)).rounded(.toNearestOrEven)))) }
        return (values, scale)
    }
}
