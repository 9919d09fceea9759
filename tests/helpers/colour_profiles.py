"""Pictures with colour profiles that differ from sRGB, made without any file from elsewhere."""

from __future__ import annotations

import io
import struct

from PIL import Image, ImageCms

# Display P3's primaries, adapted to D50
DISPLAY_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}


def srgb() -> bytes:
    """Return the profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def display_p3() -> bytes:
    """Return a profile with Display P3's primaries and sRGB's curve."""
    content = bytearray(srgb())
    for number in range(struct.unpack(">I", content[128:132])[0]):
        name, offset, _ = struct.unpack(">4sII", content[132 + 12 * number : 144 + 12 * number])
        if name in DISPLAY_P3:
            content[offset + 8 : offset + 20] = struct.pack(">iii", *(round(x * 65536) for x in DISPLAY_P3[name]))
    return bytes(content)


def stored_in(profile: bytes, picture: Image.Image) -> Image.Image:
    """Return an sRGB picture with its numbers in another profile, as a phone stores it."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    source = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(picture, source, target, renderingIntent=1, outputMode=picture.mode)
    assert made is not None
    made.info["icc_profile"] = profile
    return made
