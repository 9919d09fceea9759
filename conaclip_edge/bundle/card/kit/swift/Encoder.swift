// A picture or a text in, a vector of length 1 out.
// Not compiled where this bundle was made: run the golden check first.
// CoremlEncoder.swift and CoreaiEncoder.swift run the towers: take the one whose files the app has.
//
// Add this bundle's folder as a folder reference.
// Package: https://github.com/huggingface/swift-transformers, exact version 1.3.3, product "Tokenizers".

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

/// Both towers.
protocol Encoder {
    var facts: Facts { get }
    var preprocess: Preprocess { get }
    var ids: TextIds { get }

    /// - Parameter pixels: red, green and blue plane, each value 0...1
    func embed(pixels: [Float]) async throws -> [Float]

    /// - Parameter ids: at most `facts.context`, the last one the end of the text; or just so many of a fixed length
    func embed(ids: [Int32]) async throws -> [Float]
}

extension Encoder {
    func embed(picture data: Data) async throws -> [Float] { try await embed(pixels: pixels(data, preprocess)) }

    func embed(text words: String) async throws -> [Float] { try await embed(ids: ids(words)) }
}
