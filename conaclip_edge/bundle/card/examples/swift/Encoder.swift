// Both towers on Core ML: a picture or a text in, a vector of length 1 out; and the nearest vectors of an index.
//
// Add the two packages of coreml/ to the app's target (Xcode compiles them), and this bundle's folder as a folder
// reference. Package: https://github.com/huggingface/swift-transformers, exact version 1.3.3, product "Tokenizers".

import Accelerate
import CoreML
import CoreVideo
import Foundation
import Hub
import Tokenizers

/// The part of manifest.json that an app needs.
struct Facts: Decodable {
    let embedDim: Int
    let imageSize: Int
    let context: Int
    let eosId: Int
    let padId: Int
    let fixedLength: Bool?
}

func readJSON<Content: Decodable>(_ file: URL, as type: Content.Type) throws -> Content {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(type, from: Data(contentsOf: file))
}

/// Texts to ids. The library does not cut texts, so it is done here: the last id stays the end of the text.
struct TextIds {
    let tokenizer: Tokenizer
    let facts: Facts

    init(folder: URL, facts: Facts) throws {
        let file = folder.appendingPathComponent("tokenizer.json")
        let content = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any] ?? [:]
        let kind = (content["model"] as? [String: Any])?["type"] as? String
        let lowercase = (content["normalizer"] as? [String: Any])?["lowercase"] as? Bool ?? false
        let names = ["WordPiece": "BertTokenizer", "Unigram": "T5Tokenizer"]
        let settings = Config([
            "tokenizer_class": Config(names[kind ?? ""] ?? "PreTrainedTokenizer"), "do_lower_case": Config(lowercase),
        ])
        tokenizer = try AutoTokenizer.from(
            tokenizerConfig: settings, tokenizerData: HubApi.shared.configuration(fileURL: file))
        self.facts = facts
    }

    func callAsFunction(_ text: String) -> [Int32] {
        var ids = tokenizer.encode(text: text)
        if facts.fixedLength == true {
            if ids.count > facts.context { ids = Array(ids.prefix(facts.context - 1)) + [facts.eosId] }
            return (ids + Array(repeating: facts.padId, count: facts.context - ids.count)).map(Int32.init)
        }
        if ids.count > facts.context || ids.count < 2 || ids.last != facts.eosId {
            ids = Array(ids.prefix(facts.context - 1)) + [facts.eosId]
        }
        return ids.map(Int32.init)
    }
}

final class Encoder {
    let facts: Facts
    let preprocess: Preprocess
    let ids: TextIds
    private let image: MLModel
    private let text: MLModel
    private let lengths: [Int]  // of texts that the file takes; empty: any

    /// - Parameters:
    ///   - folder: the bundle.
    ///   - imageName: of the compiled image package, without its ending; `textName` of the other.
    ///   - computeUnits: `.all` lets Core ML choose; `.cpuOnly` is the one to compare with when a value looks wrong.
    init(folder: URL, imageName: String, textName: String, computeUnits: MLComputeUnits = .all) throws {
        facts = try readJSON(folder.appendingPathComponent("manifest.json"), as: Facts.self)
        preprocess = try readJSON(folder.appendingPathComponent("preprocess.json"), as: Preprocess.self)
        ids = try TextIds(folder: folder, facts: facts)
        let configuration = MLModelConfiguration()
        configuration.computeUnits = computeUnits
        let load = { (name: String) throws -> MLModel in
            guard let file = Bundle.main.url(forResource: name, withExtension: "mlmodelc") else {
                throw CocoaError(.fileNoSuchFile)
            }
            return try MLModel(contentsOf: file, configuration: configuration)
        }
        image = try load(imageName)
        text = try load(textName)
        let shape = text.modelDescription.inputDescriptionsByName["input_ids"]?.multiArrayConstraint?.shapeConstraint
        lengths = shape?.type == .enumerated ? (shape?.enumeratedShapes ?? []).map { $0[1].intValue }.sorted() : []
    }

    func embed(picture data: Data) throws -> [Float] { try embed(pixels: pixels(data, preprocess)) }

    /// - Parameter pixels: red, green and blue plane, each value 0...1
    func embed(pixels: [Float]) throws -> [Float] {
        if image.modelDescription.inputDescriptionsByName["pixel_values"]?.type == .image {
            return try run(image, "pixel_values", MLFeatureValue(pixelBuffer: buffer(pixels)))
        }
        let size = NSNumber(value: preprocess.size)
        let input = try MLMultiArray(shape: [1, 3, size, size], dataType: .float32)
        input.withUnsafeMutableBufferPointer(ofType: Float.self) { memory, _ in
            _ = memory.update(fromContentsOf: pixels)
        }
        return try run(image, "pixel_values", MLFeatureValue(multiArray: input))
    }

    func embed(text words: String) throws -> [Float] { try embed(ids: ids(words)) }

    /// - Parameter ids: at most `facts.context`, the last one the end of the text; or just so many of a fixed length
    func embed(ids: [Int32]) throws -> [Float] {
        let length = lengths.first { $0 >= ids.count } ?? ids.count
        let input = try MLMultiArray(shape: [1, NSNumber(value: length)], dataType: .int32)
        input.withUnsafeMutableBufferPointer(ofType: Int32.self) { memory, _ in
            memory.update(repeating: Int32(facts.padId))
            for (position, id) in ids.enumerated() { memory[position] = id }
        }
        return try run(text, "input_ids", MLFeatureValue(multiArray: input))
    }

    private func run(_ model: MLModel, _ name: String, _ input: MLFeatureValue) throws -> [Float] {
        let features = try MLDictionaryFeatureProvider(dictionary: [name: input])
        let output = try model.prediction(from: features).featureValue(for: "embedding")!.multiArrayValue!
        return MLShapedArray<Float>(converting: output).scalars  // a copy: Core ML may use the output's memory again
    }

    /// A picture for packages that take one: 32 bits a pixel, blue first.
    private func buffer(_ pixels: [Float]) -> CVPixelBuffer {
        var made: CVPixelBuffer?
        let size = preprocess.size
        CVPixelBufferCreate(nil, size, size, kCVPixelFormatType_32BGRA, nil, &made)
        let buffer = made!
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        let bytes = CVPixelBufferGetBaseAddress(buffer)!.assumingMemoryBound(to: UInt8.self)
        let perRow = CVPixelBufferGetBytesPerRow(buffer)
        for channel in 0..<3 {
            for y in 0..<size {
                for x in 0..<size {
                    let value = pixels[(channel * size + y) * size + x] * 255
                    bytes[y * perRow + 4 * x + 2 - channel] = UInt8(value.rounded())
                }
            }
        }
        return buffer
    }
}

/// The rows of an index that are nearest to a query, best first; all vectors have length 1.
///
/// - Parameter index: vectors one after the other, query.count numbers each
func nearest(_ query: [Float], in index: [Float], count: Int) -> [(row: Int, cosine: Float)] {
    let rows = index.count / query.count
    var cosines = [Float](repeating: 0, count: rows)
    vDSP_mmul(index, 1, query, 1, &cosines, 1, vDSP_Length(rows), 1, vDSP_Length(query.count))
    return cosines.enumerated().sorted { $0.element > $1.element }.prefix(count).map { ($0.offset, $0.element) }
}
