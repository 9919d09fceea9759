package android.content

import java.io.File
import java.io.InputStream

abstract class AssetManager {
    abstract fun open(path: String): InputStream

    abstract fun list(path: String): Array<String>?
}

abstract class Context {
    abstract val filesDir: File
    abstract val assets: AssetManager
}
