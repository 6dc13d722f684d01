"""Smaller pictures of a picture, made when first asked for and kept beside it."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from gateway.errors import ERROR_BAD_REQUEST, ClientError
from gateway.storage.base import Meta, Storage
from gateway.storage.threads import Threads

AT_A_TIME: Final = 2
"""Pictures that are decoded at once: each takes up to four bytes for each of its pixels."""
MAX_PIXELS: Final = 40_000_000
"""Pixels of a picture that is decoded as a whole."""
MAX_JPEG_PIXELS: Final = 89_000_000
"""Pillow's own limit. Cameras make 12 to 50 million, and a JPEG is decoded at a fraction of its size."""
QUALITY: Final = 82
FORMATS: Final = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
}
"""What is made smaller, and which decoder alone is let at it."""


class Thumbnails:
    """Made in threads of their own, so that they delay no download."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads = Threads(AT_A_TIME, "thumbnails")
        self._making: dict[tuple[str, int], asyncio.Task[tuple[bytes, str]]] = {}

    async def get(self, meta: Meta, width: int) -> tuple[bytes, str]:
        """The picture, `width` pixels wide or as wide as it is, and its type.

        Raises:
            ClientError: 107 where the file is no picture that can be made smaller.
            UpstreamError: the store could not.
        """
        if meta.type not in FORMATS:
            raise ClientError(ERROR_BAD_REQUEST, "there are smaller pictures of JPEG, PNG, GIF, WebP and BMP")
        key = (meta.id, width)
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(self._get(meta, width))
            task.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(task)

    def _made(self, key: tuple[str, int], task: asyncio.Task[tuple[bytes, str]]) -> None:
        del self._making[key]
        if not task.cancelled():
            task.exception()  # whoever asked may have gone

    async def _get(self, meta: Meta, width: int) -> tuple[bytes, str]:
        name = f"w{width}"
        data = await self._storage.variant(meta.id, name)
        if data is None:
            async with self._storage.local_file(meta.id) as path:
                data = await self._threads.run(shrink, path, FORMATS[meta.type], width)
            await self._storage.keep_variant(meta.id, name, data)
        return data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"

    async def close(self) -> None:
        """End the threads."""
        await self._threads.close()


def shrink(path: Path, decoder: str, width: int) -> bytes:
    """A smaller JPEG, or PNG where something shines through; turned as its Exif says.

    Raises:
        ClientError: 107 where it cannot be decoded or has too many pixels.
    """
    try:
        with Image.open(path, formats=[decoder]) as image:
            _check(image, decoder)
            # Decodes a JPEG at 1/2, 1/4 or 1/8 of its size: less time, less memory.
            image.draft("RGB", (width * 2, width * 2 * image.height // max(1, image.width)))
            return _encode(_resized(image, width))
    except ClientError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, UnidentifiedImageError) as error:
        raise ClientError(
            ERROR_BAD_REQUEST, f"the picture cannot be decoded: {type(error).__name__}"
        ) from None


def _check(image: Image.Image, decoder: str) -> None:
    limit = MAX_JPEG_PIXELS if decoder == "JPEG" else MAX_PIXELS
    if image.width * image.height > limit:
        raise ClientError(ERROR_BAD_REQUEST, f"the picture has more than {limit} pixels")


def _resized(image: Image.Image, width: int) -> Image.Image:
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    orientation = image.getexif().get(0x0112, 1)
    turned = orientation in (5, 6, 7, 8)
    across, down = (image.height, image.width) if turned else image.size
    width = min(width, across)
    height = max(1, round(down * width / across))
    pixels = image.convert("RGBA" if has_alpha else "RGB")
    pixels = pixels.resize((height, width) if turned else (width, height), Image.Resampling.LANCZOS)
    if orientation != 1:
        exif = pixels.getexif()
        exif[0x0112] = orientation
        pixels = ImageOps.exif_transpose(pixels)
    return pixels


def _encode(image: Image.Image) -> bytes:
    out = io.BytesIO()
    # Of what `info` brought along, only the profile belongs to the colours.
    profile = image.info.get("icc_profile")
    image.info.clear()
    if image.mode == "RGBA":
        image.save(out, "PNG", icc_profile=profile)
    else:
        image.save(out, "JPEG", quality=QUALITY, optimize=True, icc_profile=profile)
    return out.getvalue()
