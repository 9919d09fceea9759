// Does this app do what the export did? Runs the golden texts and pictures of the bundle; call it from a unit test.
// Not compiled where this bundle was made.

import Accelerate
import Foundation

struct GoldenText: Decodable {
    let text: String
    let ids: [Int32]
}

struct Golden: Decodable {
    let pixelTolerance: Float  // largest difference of a pixel value in 0...1
    let minCosine: [String: Float]  // of texts, by precision
    let pictureMinCosine: [String: Float]
    let texts: [GoldenText]
    let pictures: [String]
}

/// Reads a tensor of a .safetensors file: 8 bytes with the header's length, the header in JSON, then the numbers.
func tensor<Number>(_ name: String, of data: Data, as type: Number.Type) throws -> [Number] {
    let length = data.prefix(8).enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
    let header = try JSONSerialization.jsonObject(with: data.dropFirst(8).prefix(length)) as? [String: Any]
    guard let range = (header?[name] as? [String: Any])?["data_offsets"] as? [Int] else {
        throw CocoaError(.fileReadCorruptFile)
    }
    let bytes = data.dropFirst(8 + length + range[0]).prefix(range[1] - range[0])
    return [Number](unsafeUninitializedCapacity: bytes.count / MemoryLayout<Number>.stride) { memory, count in
        count = bytes.copyBytes(to: memory) / MemoryLayout<Number>.stride
    }
}

/// What differs from the export, a line each; empty where all is right.
///
/// - Parameter precision: of the files that the encoder runs: int8, fp16 or fp32
func goldenDifferences(_ encoder: any Encoder, folder: URL, precision: String) async throws -> [String] {
    let golden = try readJSON(folder.appendingPathComponent("golden/golden.json"), as: Golden.self)
    let numbers = try Data(contentsOf: folder.appendingPathComponent("golden/golden.safetensors"))
    let texts: [Float] = try tensor("text.embedding", of: numbers, as: Float.self)
    let pictures: [Float] = try tensor("picture.embedding", of: numbers, as: Float.self)
    let levels: [UInt8] = try tensor("picture.pixels", of: numbers, as: UInt8.self)
    let (width, area) = (encoder.facts.embedDim, 3 * encoder.facts.imageSize * encoder.facts.imageSize)
    let (ofTexts, ofPictures) = (golden.minCosine[precision]!, golden.pictureMinCosine[precision]!)
    var found: [String] = []

    for (row, entry) in golden.texts.enumerated() {
        if encoder.ids(entry.text) != entry.ids { found.append("ids of \"\(entry.text.prefix(40))\" differ") }
        let cosine = vDSP.dot(try await encoder.embed(ids: entry.ids), texts[row * width..<(row + 1) * width])
        if cosine < ofTexts { found.append("text \(row): cosine \(cosine)") }
    }
    for (row, name) in golden.pictures.enumerated() {
        let data = try Data(contentsOf: folder.appendingPathComponent("golden/\(name)"))
        let mine = try pixels(data, encoder.preprocess)
        let right = levels[row * area..<(row + 1) * area].map { Float($0) / 255 }
        let off = zip(mine, right).map { abs($0 - $1) }.max() ?? 0
        if off > golden.pixelTolerance + 1e-6 { found.append("\(name): a pixel is off by \(off * 255) of 255 levels") }
        let cosine = vDSP.dot(try await encoder.embed(pixels: right), pictures[row * width..<(row + 1) * width])
        if cosine < ofPictures { found.append("\(name): cosine \(cosine)") }
    }
    return found
}
