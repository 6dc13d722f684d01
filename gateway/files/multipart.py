"""Reads the form of `wx.uploadFile` while it arrives: one file, and fields before or after it; pure.

python-multipart's push parser finds the parts. What is decided here: which part is the file, and how much of
anything else is taken. Phones and frameworks differ (any field name; no file name, or a Chinese one, or a
percent-encoded one; no type), so whatever is not plainly a field is the file.
"""

from __future__ import annotations

import logging
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import ERROR_BAD_REQUEST, ClientError
from gateway.files.names import clean_name

PARTS: Final = 64
FIELD_SIZE: Final = 8 * 1024
"""Bytes of one field's value."""
FIELDS_SIZE: Final = 64 * 1024
"""Bytes of all fields together."""
HEADER_SIZE: Final = 16 * 1024
"""Bytes of one header line of a part: a name of 10 KB fits."""

# It warns of every broken form: anybody could fill the log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class UploadForm:
    """The form of one request. Every error is a ClientError with error 107.

    Attributes:
        fields: what is complete so far, by name; the last of a name counts.
        has_file: whether the file's part has begun. name: its name, cleaned; may be empty.
        complete: whether the last boundary was seen.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise ClientError(ERROR_BAD_REQUEST, "send multipart/form-data with a boundary")
        self.fields: dict[str, str] = {}
        self.has_file = False
        self.name = ""
        self.complete = False
        self._data: list[bytes] = []
        self._parts = 0
        self._fields_size = 0
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._field = ""
        self._value: bytearray | None = None
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_ends,
                    "on_end": self._ends,
                },
                max_header_size=HEADER_SIZE,
            )
        except FormParserError:
            raise ClientError(ERROR_BAD_REQUEST, "the boundary is too long") from None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take a piece of the body; the bytes of the file that were in it."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ClientError(ERROR_BAD_REQUEST, f"broken multipart: {error}") from None
        data, self._data = self._data, []
        return data

    def end(self) -> None:
        """The body has ended: raises where something is missing."""
        if not self.complete:
            raise ClientError(ERROR_BAD_REQUEST, "broken multipart: the last boundary is missing")
        if not self.has_file:
            raise ClientError(ERROR_BAD_REQUEST, "there is no file in the form")

    # ------------------------------------------------------------------ what the parser finds
    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise ClientError(ERROR_BAD_REQUEST, f"a form has at most {PARTS} parts")
        self._headers = {}
        self._value = None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_ends(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if not self._is_file(field, options):
            self._field, self._value = field, bytearray()
            return
        if self.has_file:
            raise ClientError(ERROR_BAD_REQUEST, "one file per request")
        self.has_file = True
        self.name = clean_name(options.get(b"filename", b""))

    def _is_file(self, field: str, options: dict[bytes, bytes]) -> bool:
        declared = self._headers.get(b"content-type", b"").strip().lower()
        if b"filename" in options or field == "file":
            return True
        return bool(declared) and not declared.startswith((b"text/plain", b"application/json"))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            # A whole chunk is not copied by this.
            self._data.append(data[start:end])
            return
        self._fields_size += end - start
        if len(self._value) + end - start > FIELD_SIZE or self._fields_size > FIELDS_SIZE:
            raise ClientError(ERROR_BAD_REQUEST, f"a field has at most {FIELD_SIZE} bytes")
        self._value += data[start:end]

    def _part_ends(self) -> None:
        if self._value is not None:
            self.fields[self._field] = self._value.decode("utf-8", "replace")

    def _ends(self) -> None:
        self.complete = True
