"""A program of its own: reads an image from standard input, and writes a small one to standard output.

Decoders of images have been the way into servers before, so that no foreign image is decoded in the server itself. This
process may use little memory and time, may write no file, and knows four formats. It is a copy of `warm_worker.py`,
apart from the package, and imports nothing of it.

    thumbnail_worker.py METHOD WIDTH HEIGHT ANIMATED MAX_PIXELS MAX_FRAMES MAX_BYTES MEMORY_BYTES CPU_SECONDS

The status says how it went: see `Outcome`.
"""

from __future__ import annotations

import enum
import io
import os
import resource
import sys
import warnings
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 80
LONGEST_FRAME_MS = 10_000


class Outcome(enum.IntEnum):
    """What the exit status means."""

    MADE = 0
    SMALL_ENOUGH = 3
    NO_IMAGE = 4
    TOO_LARGE = 5


def confine(memory_bytes: int, cpu_seconds: int) -> None:
    """Give up what this process does not need."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.nice(5)


def fitted(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """Return the size of an image that is made to lie within another one."""
    factor = min(most_width / width, most_height / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def needed(
    width: int, height: int, method: Literal["crop", "scale"], most_width: int, most_height: int
) -> tuple[int, int]:
    """Return the size to which an image is made smaller, before what stands out is cut away."""
    if method == "scale":
        return fitted(width, height, most_width, most_height)
    factor = max(most_width / width, most_height / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def plain(image: Image) -> Image:
    """Return an image in colours, with transparency if it has any."""
    if image.mode in ("RGB", "RGBA", "L"):
        return image
    has_transparency = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if has_transparency else "RGB")


def small(image: Image, method: Literal["crop", "scale"], width: int, height: int) -> Image:
    """Return a small image of an image, which is never made larger."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    if method == "crop":
        factor = min(1.0, image.width / width, image.height / height)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        return ImageOps.fit(image, size, method=Resampling.BICUBIC)
    return image.resize(fitted(image.width, image.height, width, height), Resampling.BICUBIC)


def still(image: Image, method: Literal["crop", "scale"], width: int, height: int, *, shrinks: bool) -> bytes:
    """Return the small image of the first frame: JPEG, or PNG where something is transparent."""
    from PIL import ImageOps

    if image.format == "JPEG" and shrinks:
        # Decoded no larger than needed; twice the size looks as good as all of it. Seen from the side, if it is turned.
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width_needed, height_needed = needed(image.height, image.width, method, width, height)[::-1]
        else:
            width_needed, height_needed = needed(image.width, image.height, method, width, height)
        image.draft("RGB", (2 * width_needed, 2 * height_needed))
    turned = plain(ImageOps.exif_transpose(image))
    made = small(turned, method, width, height) if shrinks else turned
    output = io.BytesIO()
    if made.mode == "RGBA" and any(made.getchannel("A").histogram()[:255]):
        made.save(output, "PNG", optimize=False)
    else:
        made.convert("RGB").save(output, "JPEG", quality=QUALITY)
    return output.getvalue()


def moving(image: Image, method: Literal["crop", "scale"], width: int, height: int, frames: int) -> bytes:
    """Return the small image with all its frames, as WebP."""
    made, durations = [], []
    for number in range(frames):
        image.seek(number)
        made.append(small(plain(image).convert("RGBA"), method, width, height))
        durations.append(min(int(image.info.get("duration", 100) or 100), LONGEST_FRAME_MS))
    output = io.BytesIO()
    loop = int(image.info.get("loop", 0))
    made[0].save(
        output, "WEBP", save_all=True, append_images=made[1:], duration=durations, loop=loop, quality=QUALITY, method=1
    )
    return output.getvalue()


def prepare() -> None:
    """Import what the four formats need."""
    import PIL.Image
    from PIL import GifImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    del GifImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
    PIL.Image.MAX_IMAGE_PIXELS = None  # checked below, before anything is decoded


def main(arguments: list[str]) -> Outcome:
    """Make one small image."""
    method, *numbers = arguments
    width, height, animated, max_pixels, max_frames, max_bytes, memory_bytes, cpu_seconds = map(int, numbers)
    confine(memory_bytes, cpu_seconds)
    data = sys.stdin.buffer.read(max_bytes + 1)
    if len(data) > max_bytes:
        return Outcome.TOO_LARGE

    import PIL.Image
    from PIL import UnidentifiedImageError

    warnings.simplefilter("ignore")
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP"))
        if image.width * image.height > max_pixels:
            return Outcome.TOO_LARGE
        frames = int(getattr(image, "n_frames", 1))
        if frames > max_frames:
            return Outcome.TOO_LARGE
        orientation = image.getexif().get(0x0112, 1) if image.format == "JPEG" else 1
        seen_width, seen_height = (image.height, image.width) if orientation in (5, 6, 7, 8) else image.size
        shrinks = seen_width > width or seen_height > height
        if not shrinks and (animated or frames == 1):
            return Outcome.SMALL_ENOUGH
        kind: Literal["crop", "scale"] = "crop" if method == "crop" else "scale"
        if animated and frames > 1:
            made = moving(image, kind, width, height, frames)
        else:
            made = still(image, kind, width, height, shrinks=shrinks)
    except UnidentifiedImageError:
        return Outcome.NO_IMAGE
    except MemoryError:
        return Outcome.TOO_LARGE
    except Exception:  # noqa: BLE001  # whatever a decoder says of what is no good image
        return Outcome.NO_IMAGE
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()
    return Outcome.MADE
