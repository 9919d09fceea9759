// What Android does for the kit: decoding of pictures, and the bundle as files. Needs API 28.

package conaclip

import android.content.Context
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import java.io.File
import java.nio.ByteBuffer

/** Decodes a picture: EXIF orientation applied, colours in sRGB. */
fun decoded(bytes: ByteArray): Picture {
    val bitmap = ImageDecoder.decodeBitmap(ImageDecoder.createSource(ByteBuffer.wrap(bytes))) { decoder, _, _ ->
        decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE // its pixels are read below
        decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
    }
    val argb = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return Picture(argb, bitmap.width, bitmap.height)
}

fun decoded(file: File): Picture = decoded(file.readBytes())

/**
 * Copies the bundle from the app's assets to files, which runtimes and tokenizer open by their path.
 *
 * It is copied again when its manifest has changed.
 */
fun bundleFolder(context: Context, asset: String = "bundle"): File {
    val folder = File(context.filesDir, asset)
    val there = File(folder, "manifest.json")
    val manifest = context.assets.open("$asset/manifest.json").use { it.readBytes() }
    if (there.exists() && there.readBytes().contentEquals(manifest)) return folder
    folder.deleteRecursively()
    fun copy(path: String) {
        val inside = context.assets.list(path).orEmpty()
        val file = File(context.filesDir, path)
        if (inside.isNotEmpty()) {
            file.mkdirs()
            inside.filter { it != "manifest.json" }.forEach { copy("$path/$it") }
        } else {
            context.assets.open(path).use { from -> file.outputStream().use { from.copyTo(it) } }
        }
    }
    copy(asset)
    there.writeBytes(manifest) // last: a copy that was broken off is made again
    return folder
}
