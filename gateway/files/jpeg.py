"""Takes place, device, previews and comments out of a JPEG while it streams past; pure, and without loss.

No library that is kept does this: Pillow would decode and compress the picture again, which costs quality
and tens of megabytes of memory. A JPEG is a row of segments (ITU-T T.81, annex B), so it is enough to leave
some out:

kept     what the picture needs: tables, frames and scans, JFIF, ICC profiles (colours), Adobe (colours)
rewritten  Exif, to the orientation alone
left out   everything else in APPn, comments, and what follows the picture (previews, clips of live photos)
"""

from __future__ import annotations

import re
from typing import Final

from PIL import Image

SOI: Final = b"\xff\xd8"
ORIENTATION: Final = 0x0112
"""The Exif tag; 1 is upright, 2 to 8 are turned or mirrored."""

_SOS, _EOI, _EXIF = 0xDA, 0xD9, 0xE1
_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length: TEM, RSTn, SOI."""
_MARKER_IN_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_KEPT: Final = {0xE0: b"JFIF\x00", 0xE2: b"ICC_PROFILE\x00", 0xEE: b"Adobe"}


class JpegCleaner:
    """Fed piece by piece; what comes out is a JPEG again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_scan = False
        self._ended = False
        self._turned = False

    def feed(self, data: bytes) -> bytes:
        """What can be passed on so far; holds back less than 64 KB."""
        if self._ended:
            return b""
        self._buffer += data
        out = bytearray()
        while not self._ended and (self._scan(out) if self._in_scan else self._segment(out)):
            pass
        return bytes(out)

    def finish(self) -> bytes:
        """What is left: of a picture that was cut off in its data."""
        rest = bytes(self._buffer) if self._in_scan else b""
        self._buffer.clear()
        return rest

    def _scan(self, out: bytearray) -> bool:
        """Pass on picture data up to the next marker; whether there is one."""
        found = _MARKER_IN_SCAN.search(self._buffer)
        # The last byte may be the first half of a marker.
        end = found.start() if found else len(self._buffer) - self._buffer.endswith(b"\xff")
        out += self._buffer[:end]
        del self._buffer[:end]
        self._in_scan = found is None
        return found is not None

    def _segment(self, out: bytearray) -> bool:
        """Take one segment; False where more bytes are needed."""
        buffer = self._buffer
        start = buffer.find(b"\xff")
        if start:
            # Bytes between segments belong to nothing.
            del buffer[: start if start > 0 else len(buffer)]
        while buffer.startswith(b"\xff\xff"):
            del buffer[:1]
        if len(buffer) < 2:
            return False
        marker = buffer[1]
        if marker in _ALONE or marker in (0x00, _EOI):
            out += buffer[:2] if marker else b""
            del buffer[:2]
            self._end_at(marker)
            return True
        if len(buffer) < 4 or len(buffer) < (size := 2 + int.from_bytes(buffer[2:4])):
            return False
        out += self._kept(marker, bytes(buffer[: max(size, 4)]))
        del buffer[: max(size, 4)]
        self._in_scan = marker == _SOS
        return True

    def _end_at(self, marker: int) -> None:
        if marker == _EOI:
            self._ended = True
            self._buffer.clear()

    def _kept(self, marker: int, segment: bytes) -> bytes:
        if marker == _EXIF:
            return self._turn(segment)
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            start = _KEPT.get(marker)
            return segment if start and segment.startswith(start, 4) else b""
        return segment

    def _turn(self, segment: bytes) -> bytes:
        """An Exif segment with nothing but the orientation, where it says one."""
        if self._turned or not segment.startswith(b"Exif\x00\x00", 4):
            return b""
        exif = Image.Exif()
        try:
            exif.load(segment[4:])
            orientation = exif.get(ORIENTATION)
        except Exception:  # Pillow's parser says no in many ways; the picture is shown as it lies then
            return b""
        if not isinstance(orientation, int) or not 2 <= orientation <= 8:
            return b""
        self._turned = True
        alone = Image.Exif()
        alone[ORIENTATION] = orientation
        content = alone.tobytes()
        return b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content
