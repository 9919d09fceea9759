// Both towers on Core ML. Add the two packages of coreml/ to the app's target: Xcode compiles them.
// Not compiled where this bundle was made.

import CoreML
import CoreVideo
import Foundation

final class CoremlEncoder: Encoder {
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
