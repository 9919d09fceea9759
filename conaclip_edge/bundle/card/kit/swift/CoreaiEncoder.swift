// Both towers on Core AI, on system 27 or newer. The assets of coreai/ are opened where they lie in this folder.
// Not compiled where this bundle was made.

import CoreAI
import Foundation

@available(iOS 27, macOS 27, *)
final class CoreaiEncoder: Encoder {
    let facts: Facts
    let preprocess: Preprocess
    let ids: TextIds
    private let image: InferenceFunction
    private let texts: [Int: InferenceFunction]  // by the length that it takes; 0: any
    private let lengths: [Int]

    /// - Parameters:
    ///   - folder: the bundle.
    ///   - precision: of the files: int8 or fp16.
    ///   - lengths: of texts that the asset has a function for, in rising order; empty: one for any.
    init(folder: URL, precision: String, lengths: [Int]) async throws {
        facts = try readJSON(folder.appendingPathComponent("manifest.json"), as: Facts.self)
        preprocess = try readJSON(folder.appendingPathComponent("preprocess.json"), as: Preprocess.self)
        ids = try TextIds(folder: folder, facts: facts)
        let coreai = folder.appendingPathComponent("coreai")
        let image = try await AIModel(contentsOf: coreai.appendingPathComponent("image.\(precision).aimodel"))
        let text = try await AIModel(contentsOf: coreai.appendingPathComponent("text.\(precision).aimodel"))
        self.image = try CoreaiEncoder.function("main", of: image)
        var texts: [Int: InferenceFunction] = [:]
        for length in lengths { texts[length] = try CoreaiEncoder.function("main_length_\(length)", of: text) }
        if lengths.isEmpty { texts[0] = try CoreaiEncoder.function("main", of: text) }
        self.texts = texts
        self.lengths = lengths
    }

    func embed(pixels: [Float]) async throws -> [Float] {
        let size = preprocess.size
        return try await run(image, "pixel_values", NDArray(scalars: pixels, shape: [1, 3, size, size]))
    }

    func embed(ids: [Int32]) async throws -> [Float] {
        let length = lengths.first { $0 >= ids.count } ?? ids.count
        let filled = ids + Array(repeating: Int32(facts.padId), count: length - ids.count)
        guard let function = texts[lengths.isEmpty ? 0 : length] else { throw CocoaError(.featureUnsupported) }
        return try await run(function, "input_ids", NDArray(scalars: filled, shape: [1, length]))
    }

    private func run(_ function: InferenceFunction, _ name: String, _ input: NDArray) async throws -> [Float] {
        var outputs = try await function.run(inputs: [name: input])
        guard let embedding = outputs.remove("embedding")?.ndArray else { throw CocoaError(.featureUnsupported) }
        return embedding.view(as: Float.self).withUnsafePointer { first, shape, strides in
            (0..<shape[1]).map { first[$0 * strides[1]] }
        }
    }

    private static func function(_ name: String, of model: AIModel) throws -> InferenceFunction {
        guard let found = try model.loadFunction(named: name) else { throw CocoaError(.fileReadCorruptFile) }
        return found
    }
}
