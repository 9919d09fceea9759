// From an encoded picture to what the image tower takes, step by step as preprocess.json says.
// Not compiled where this bundle was made; the same steps in Kotlin were compiled and run.

import CoreGraphics
import Foundation
import ImageIO

/// The part of preprocess.json that differs between models.
struct Preprocess: Decodable {
    struct Resize: Decodable { let filter: String }  // bicubic (a = -0.5) or bilinear, both with antialiasing

    let size: Int
    let resize: Resize
    let crop: String?  // "center": the shorter side becomes `size`, then the centre is cut out; nil: both sides do
}

enum PixelError: Error { case noPicture }

/// Decode a picture: EXIF orientation applied, colours in sRGB, white behind transparency; 4 bytes a pixel (RGBX).
func decoded(_ data: Data) throws -> (rgbx: [UInt8], width: Int, height: Int) {
    guard let source = CGImageSourceCreateWithData(data as CFData, nil),
        let facts = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
        let wide = facts[kCGImagePropertyPixelWidth] as? Int, let high = facts[kCGImagePropertyPixelHeight] as? Int
    else { throw PixelError.noPicture }
    let whole: [CFString: Any] = [
        kCGImageSourceCreateThumbnailFromImageAlways: true,
        kCGImageSourceCreateThumbnailWithTransform: true,  // applies the orientation
        kCGImageSourceThumbnailMaxPixelSize: max(wide, high),  // the picture's own size: nothing is scaled here
    ]
    guard let image = CGImageSourceCreateThumbnailAtIndex(source, 0, whole as CFDictionary) else {
        throw PixelError.noPicture
    }
    let (width, height) = (image.width, image.height)
    var rgbx = [UInt8](repeating: 255, count: 4 * width * height)
    rgbx.withUnsafeMutableBytes { memory in
        let context = CGContext(
            data: memory.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
            space: CGColorSpace(name: CGColorSpace.sRGB)!, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
        let everything = CGRect(x: 0, y: 0, width: width, height: height)
        context.setFillColor(CGColor(red: 1, green: 1, blue: 1, alpha: 1))
        context.fill(everything)
        context.draw(image, in: everything)
    }
    return (rgbx, width, height)
}

/// Where an output pixel looks: its value is the sum of weights[k] * input[start + k].
struct Tap {
    let start: Int
    let weights: [Float]
    var end: Int { start + weights.count }
}

/// Weights that scale `length` pixels to `scaled`, for the output pixels of `wanted`.
///
/// Antialiased: the filter is as much wider as the picture gets smaller.
func taps(length: Int, scaled: Int, wanted: Range<Int>, filter: String) -> [Tap] {
    let step = Double(length) / Double(scaled)
    let widen = max(step, 1)
    let support = (filter == "bicubic" ? 2 : 1) * widen
    return wanted.map { index in
        let center = (Double(index) + 0.5) * step
        let first = max(0, Int(center - support + 0.5))
        let last = min(length, Int(center + support + 0.5))
        let raw = (first..<last).map { kernel((Double($0) - center + 0.5) / widen, filter) }
        let sum = raw.reduce(0, +)
        return Tap(start: first, weights: raw.map { Float($0 / sum) })
    }
}

func kernel(_ distance: Double, _ filter: String) -> Double {
    let x = abs(distance)
    if filter != "bicubic" { return x < 1 ? 1 - x : 0 }
    let a = -0.5
    if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
}

/// The image tower's input: red, green and blue plane, each value 0...1.
func pixels(_ data: Data, _ preprocess: Preprocess) throws -> [Float] {
    let (rgbx, width, height) = try decoded(data)
    return pixels(rgbx: rgbx, width: width, height: height, preprocess)
}

func pixels(rgbx: [UInt8], width: Int, height: Int, _ preprocess: Preprocess) -> [Float] {
    let size = preprocess.size
    var (wide, high) = (size, size)
    if preprocess.crop != nil {
        let scale = Double(size) / Double(min(width, height))
        wide = max(size, Int((Double(width) * scale).rounded(.toNearestOrEven)))
        high = max(size, Int((Double(height) * scale).rounded(.toNearestOrEven)))
    }
    let (left, top) = ((wide - size) / 2, (high - size) / 2)
    let columns = taps(length: width, scaled: wide, wanted: left..<left + size, filter: preprocess.resize.filter)
    let rows = taps(length: height, scaled: high, wanted: top..<top + size, filter: preprocess.resize.filter)

    // both steps round to whole levels, so their order shows where a level is cut off at 0 or 255; this is how
    // Pillow 13 chooses it, older versions went along the rows first
    let down = height > high && height - high > 2 * (width - wide)
    return down
        ? downThenAlong(rgbx, width, rows: rows, columns: columns)
        : alongThenDown(rgbx, width, height, rows: rows, columns: columns)
}

private func alongThenDown(_ rgbx: [UInt8], _ width: Int, _ height: Int, rows: [Tap], columns: [Tap]) -> [Float] {
    let wide = columns.count
    var narrow = [Float](repeating: 0, count: 3 * height * wide)  // [3, height, wide]
    rgbx.withUnsafeBufferPointer { input in
        for y in rows[0].start..<rows[rows.count - 1].end {
            for (x, tap) in columns.enumerated() {
                var sum = SIMD3<Float>(repeating: 0)
                for (k, weight) in tap.weights.enumerated() { sum += weight * color(input, y * width + tap.start + k) }
                for channel in 0..<3 { narrow[(channel * height + y) * wide + x] = level(sum[channel]) }
            }
        }
    }
    return planes(rows.count, wide) { channel, y, x in
        var value: Float = 0
        for (k, weight) in rows[y].weights.enumerated() {
            value += weight * narrow[(channel * height + rows[y].start + k) * wide + x]
        }
        return value
    }
}

private func downThenAlong(_ rgbx: [UInt8], _ width: Int, rows: [Tap], columns: [Tap]) -> [Float] {
    let high = rows.count
    var short = [Float](repeating: 0, count: 3 * high * width)  // [3, high, width]
    rgbx.withUnsafeBufferPointer { input in
        for (y, tap) in rows.enumerated() {
            for x in columns[0].start..<columns[columns.count - 1].end {
                var sum = SIMD3<Float>(repeating: 0)
                for (k, weight) in tap.weights.enumerated() {
                    sum += weight * color(input, (tap.start + k) * width + x)
                }
                for channel in 0..<3 { short[(channel * high + y) * width + x] = level(sum[channel]) }
            }
        }
    }
    return planes(high, columns.count) { channel, y, x in
        var value: Float = 0
        for (k, weight) in columns[x].weights.enumerated() {
            value += weight * short[(channel * high + y) * width + columns[x].start + k]
        }
        return value
    }
}

private func color(_ input: UnsafeBufferPointer<UInt8>, _ at: Int) -> SIMD3<Float> {
    SIMD3(Float(input[4 * at]), Float(input[4 * at + 1]), Float(input[4 * at + 2]))
}

private func planes(_ high: Int, _ wide: Int, _ value: (_ channel: Int, _ y: Int, _ x: Int) -> Float) -> [Float] {
    var made = [Float](repeating: 0, count: 3 * high * wide)
    for channel in 0..<3 {
        for y in 0..<high {
            for x in 0..<wide { made[(channel * high + y) * wide + x] = level(value(channel, y, x)) / 255 }
        }
    }
    return made
}

private func level(_ value: Float) -> Float { min(255, max(0, (value + 0.5).rounded(.down))) }
