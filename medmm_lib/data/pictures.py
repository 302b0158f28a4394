"""Opens pictures that come from outside: PNG and JPEG, and none that is absurdly large.

A file of a megabyte can hold a billion pixels of one colour, and a header can claim any size. Pillow itself only warns
of such a picture up to 179 megapixels, so size is looked at here, at a file's head, before any pixel is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

from medmm_lib.data.loaded import DataError

# Films of a whole leg or spine, put together, have 30 to 40 megapixels. Below the 89 from which on Pillow warns.
MOST_PIXELS = 80_000_000
LONGEST_SIDE = 20_000  # pixels
FORMATS = ("PNG", "JPEG")  # of the many that Pillow tells by a file's content, EPS would start Ghostscript
# What Pillow raises for files that are not what they say.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def too_large(width: int, height: int) -> str:
    """Why a picture of so many pixels is refused, or an empty string."""
    if max(width, height) <= LONGEST_SIDE and width * height <= MOST_PIXELS:
        return ""
    return (
        f"it claims {width:,} × {height:,} pixels; at most {LONGEST_SIDE:,} a side and {MOST_PIXELS / 1e6:.0f} million "
        "in all are read"
    )


@contextmanager
def opened(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    """A picture, of which only the head is read until its pixels are asked for.

    Raises one of `UNREADABLE` for what is no PNG or JPEG, and `DataError`, which is one of them, for one that is too
    large.
    """
    with Image.open(file, formats=FORMATS) as picture:
        if problem := too_large(*picture.size):
            raise DataError(problem)
        yield picture


def broken_picture(file: Path | IO[bytes], *, whole: bool = True) -> str:
    """Why a picture can't be decoded, or an empty string. `whole=False` looks at its head only, for large folders."""
    name = file.name if isinstance(file, Path) else "the picture"
    try:
        with opened(file) as picture:
            if whole:
                picture.load()
    except DataError as error:
        return f"{name} is too large: {error}"
    except UNREADABLE as error:
        return f"{name} can't be decoded: {error}"
    return ""
