"""A program of its own: reads an image from standard input, and writes small ones of it to standard output.

Decoders of images have been the way into servers before, so that no foreign image is decoded in the server itself. This
process may use little memory and time, may write no file, and knows four formats. It is a copy of `warm_worker.py`,
apart from the package, and imports nothing of it.

    thumbnail_worker.py SIZES ANIMATED MAX_PIXELS MAX_FRAMES MAX_BYTES MEMORY_BYTES CPU_SECONDS

The sizes are such as `crop:96:96,scale:320:240`. The image is decoded once for all of them; each is written as soon as
it is made, behind its number and how it went (`RECORD`), so that what ends the process takes no other along. The status
says how it went on the whole: see `Outcome`.
"""

from __future__ import annotations

import enum
import io
import os
import resource
import struct
import sys
import warnings
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 80
LONGEST_FRAME_MS = 10_000
# Most of the way an image is made smaller by averaging whole pixels, which costs a fraction of weighing them; only the
# rest is weighed. What that loses is less than half of what is lost by being written as JPEG.
REDUCING_GAP = 1.0
RECORD = struct.Struct("!BBI")
"""The number of a size, its outcome, and how many bytes follow."""


class Outcome(enum.IntEnum):
    """How it went: of one size, and, as the exit status, of the image."""

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


class Size(NamedTuple):
    """In which size an image is wanted."""

    method: Literal["crop", "scale"]
    width: int
    height: int

    def needed(self, width: int, height: int) -> tuple[int, int]:
        """Return how large all of an image is to be, before what stands out is cut away; it is never made larger."""
        factors = self.width / width, self.height / height
        factor = min(1.0, min(factors) if self.method == "scale" else max(factors))
        return max(1, round(width * factor)), max(1, round(height * factor))

    def source(self, width: int, height: int) -> tuple[int, int]:
        """Return how large an image must be to make this of it as well as of a larger one.

        What is cut out is weighed all the way, for which twice the size is enough; for all else see `REDUCING_GAP`.
        """
        needed = self.needed(width, height)
        return (2 * needed[0], 2 * needed[1]) if self.method == "crop" else needed

    def made(self, width: int, height: int) -> tuple[int, int]:
        """Return how large the small image of an image is."""
        if self.method == "scale":
            return self.needed(width, height)
        factor = min(1.0, width / self.width, height / self.height)
        return max(1, round(self.width * factor)), max(1, round(self.height * factor))

    def shrinks(self, width: int, height: int) -> bool:
        """Return whether an image is not small enough itself."""
        return width > self.width or height > self.height


def parsed(word: str) -> Size:
    """Return a size from its words."""
    method, width, height = word.split(":")
    return Size("crop" if method == "crop" else "scale", int(width), int(height))


def plain(image: Image) -> Image:
    """Return an image in colours, with transparency if it has any."""
    if image.mode in ("RGB", "RGBA", "L"):
        return image
    has_transparency = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if has_transparency else "RGB")


def small(image: Image, size: Size, made: tuple[int, int]) -> Image:
    """Return a small image of an image."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    if image.size == made:
        return image
    if size.method == "crop":
        return ImageOps.fit(image, made, method=Resampling.BICUBIC)
    return image.resize(made, Resampling.BICUBIC, reducing_gap=REDUCING_GAP)


class Still:
    """The first frame of an image, decoded once for the largest of some sizes, which are made in descending order.

    Each is made of a larger one that was made before, if one is twice as large: that looks as good as all of the image.
    """

    def __init__(self, image: Image, seen: tuple[int, int], sizes: list[Size]) -> None:
        from PIL import ImageOps

        self._seen = seen
        width, height = (max(sides) for sides in zip(*(size.source(*seen) for size in sizes), strict=True))
        if image.format == "JPEG":
            # Decoded no larger than needed, which is less work for each of its blocks. Seen from the side, if it is
            # turned.
            image.draft("RGB", (width, height) if image.size == seen else (height, width))
        ImageOps.exif_transpose(image, in_place=True)
        turned = plain(image)
        factor = min(turned.width // width, turned.height // height)
        self._whole = [turned.reduce(factor) if factor > 1 else turned]

    def small(self, size: Size) -> bytes:
        """Return a small image: JPEG, or PNG where something is transparent."""
        width, height = size.needed(*self._seen)
        source = next(
            (each for each in reversed(self._whole) if each.width >= 2 * width and each.height >= 2 * height),
            self._whole[0],
        )
        made = small(source, size, size.made(*self._seen))
        if size.method == "scale":
            self._whole.append(made)
        output = io.BytesIO()
        if made.mode == "RGBA" and any(made.getchannel("A").histogram()[:255]):
            made.save(output, "PNG", optimize=False)
        else:
            (made if made.mode == "RGB" else made.convert("RGB")).save(output, "JPEG", quality=QUALITY)
        return output.getvalue()


def moving(image: Image, size: Size, frames: int) -> bytes:
    """Return the small image with all its frames, as WebP."""
    made, durations = [], []
    for number in range(frames):
        image.seek(number)
        made.append(small(plain(image).convert("RGBA"), size, size.made(*image.size)))
        durations.append(min(int(image.info.get("duration", 100) or 100), LONGEST_FRAME_MS))
    output = io.BytesIO()
    loop = int(image.info.get("loop", 0))
    made[0].save(
        output, "WEBP", save_all=True, append_images=made[1:], duration=durations, loop=loop, quality=QUALITY, method=1
    )
    return output.getvalue()


def tell(number: int, outcome: Outcome, data: bytes = b"") -> None:
    """Write what has become of a size."""
    sys.stdout.buffer.write(RECORD.pack(number, outcome, len(data)) + data)
    sys.stdout.buffer.flush()


def make_all(image: Image, sizes: list[Size], *, animated: bool, max_pixels: int, max_frames: int) -> Outcome:
    """Make the small images of an image, each by itself."""
    if image.width * image.height > max_pixels:
        return Outcome.TOO_LARGE
    frames = int(getattr(image, "n_frames", 1))
    if frames > max_frames:
        return Outcome.TOO_LARGE
    orientation = image.getexif().get(0x0112, 1) if image.format == "JPEG" else 1
    seen = (image.height, image.width) if orientation in (5, 6, 7, 8) else image.size
    wanted = []
    for number, size in enumerate(sizes):
        if not size.shrinks(*seen) and (animated or frames == 1):
            tell(number, Outcome.SMALL_ENOUGH)
        else:
            wanted.append((number, size))
    if not wanted:
        return Outcome.MADE
    wanted.sort(key=lambda each: each[1].needed(*seen), reverse=True)
    still = None if animated and frames > 1 else Still(image, seen, [size for _, size in wanted])
    for number, size in wanted:
        try:
            data = moving(image, size, frames) if still is None else still.small(size)
        except MemoryError:
            tell(number, Outcome.TOO_LARGE)
        except Exception:  # noqa: BLE001  # whatever a decoder says of what is no good image
            tell(number, Outcome.NO_IMAGE)
        else:
            tell(number, Outcome.MADE, data)
    return Outcome.MADE


def prepare() -> None:
    """Import what the four formats need."""
    import PIL.Image
    from PIL import GifImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    del GifImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
    PIL.Image.MAX_IMAGE_PIXELS = None  # checked below, before anything is decoded


def main(arguments: list[str]) -> Outcome:
    """Make small images of one image."""
    sizes, *numbers = arguments
    animated, max_pixels, max_frames, max_bytes, memory_bytes, cpu_seconds = map(int, numbers)
    confine(memory_bytes, cpu_seconds)
    data = sys.stdin.buffer.read(max_bytes + 1)
    if len(data) > max_bytes:
        return Outcome.TOO_LARGE

    import PIL.Image

    warnings.simplefilter("ignore")
    try:
        return make_all(
            PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP")),
            [parsed(word) for word in sizes.split(",")],
            animated=bool(animated),
            max_pixels=max_pixels,
            max_frames=max_frames,
        )
    except MemoryError:
        return Outcome.TOO_LARGE
    except Exception:  # noqa: BLE001  # whatever a decoder says of what is no good image
        return Outcome.NO_IMAGE
