"""Decodes one image file of any common kind to a small square array, or says what is wrong with it."""

from __future__ import annotations

import contextlib
import errno
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steepest.data.dataset import Array
from steepest.mistake import Mistake

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset([".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"])
MAX_PIXELS = 100_000_000
GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"))


def decode(path: Path, size: int, channels: int) -> Array:
    """The image as (size,size,channels) uint8: short side resized to `size` with antialiasing, centre cut out.

    Reads JPEG, PNG, WebP, BMP, GIF (first frame) and TIFF; 16 bits are scaled to 8, transparency is laid on white,
    EXIF rotation is applied. channels is 1 or 3. Raises `Mistake` with the reason for a file that is not such an
    image, is broken, or has more than 100 million pixels (which is found out without decoding it).
    """
    with quiet():
        return decoded(path, size, channels)


@contextlib.contextmanager
def quiet():  # type: ignore[no-untyped-def]
    """Keeps Pillow's warnings about odd files to itself; not for use inside threads, around them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decoded(path: Path, size: int, channels: int) -> Array:
    """`decode` without silencing Pillow's warnings, for many threads inside one `quiet()`."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    with opened(path) as image:
        try:
            image.draft(None, (2 * size, 2 * size))
            with contextlib.suppress(Exception):  # broken EXIF data: the picture itself may still be fine
                ImageOps.exif_transpose(image, in_place=True)
            image.load()
            plain = _plain(image, channels)
            plain = ImageOps.fit(plain, (size, size), Resampling.BICUBIC)
        except Exception as error:
            raise Mistake(f"{path} is cut off or broken: {error or type(error).__name__}") from error
        return np.asarray(plain, np.uint8).reshape(size, size, channels)


def opened(path: Path) -> Image:
    """The image with only its header read; to be used in a `with` block."""
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    try:
        if path.stat().st_size == 0:
            raise Mistake(f"{path} is empty (0 bytes)")
        image = pillow.open(path)
    except UnidentifiedImageError as error:
        raise Mistake(f"{path} is not an image of a kind that can be read") from error
    except pillow.DecompressionBombError as error:
        raise Mistake(f"{path} has more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except OSError as error:
        loop = error.errno == errno.ELOOP or (error.errno == errno.ENOENT and path.is_symlink())
        why = "is a link that leads nowhere" if loop else f"cannot be read: {error.strerror or error}"
        raise Mistake(f"{path} {why}") from error
    except Mistake:
        raise
    except Exception as error:
        raise Mistake(f"{path} is cut off or broken: {error or type(error).__name__}") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise Mistake(f"{path} has {image.width} × {image.height} pixels, more than {MAX_PIXELS // 1_000_000} million")
    return image


def _plain(image: Image, channels: int) -> Image:
    """The image as 8-bit grey or RGB, without transparency."""
    from PIL import Image as pillow

    if image.mode == "F":
        raise ValueError("images of floating-point numbers are not read")
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        image = pillow.fromarray((np.clip(deep, 0, 65535) >> 8).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        clear = image.convert("RGBA")
        ground = pillow.new("RGBA", clear.size, "white")
        image = pillow.alpha_composite(ground, clear)
    wanted = "L" if channels == 1 else "RGB"
    return image if image.mode == wanted else image.convert("RGB").convert(wanted)
