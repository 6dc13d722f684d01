"""Values of settings as people read them: as TOML, and never a secret."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from pydantic import SecretStr

from gateway.config.types import MASK, Kind

_HOSTS = re.compile(
    r"(?:[-\w.]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{0,5})?(?:,(?:[-\w.]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{0,5})?)*"
)


def redact_url(text: str) -> str:
    """`text` with its user, password and query values masked; masked as a whole where its parts are in doubt.

    Doubt is the usual case of a broken URL: a password with a "/" or "#" in it ends up in another part.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return MASK
    account, _, hosts = parts.netloc.rpartition("@")
    known = _HOSTS.fullmatch(hosts) or (parts.scheme == "unix" and not hosts)
    if not parts.scheme or "@" in parts.path + parts.query + parts.fragment or not known:
        return MASK if text else ""
    query = "?" + re.sub(r"=[^&]*", f"={MASK}", parts.query) if parts.query else ""
    return f"{parts.scheme}://{MASK + '@' if account else ''}{hosts}{parts.path}{query}"


def show_value(value: object, kind: Kind | None) -> str:
    """`value` as TOML, valid or not, without anything that could be a secret.

    Where there is no row for it (an unknown key, a section that is no table) it may be anything: masked.
    """
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str) and not value:
        return '""'
    if kind is None or (kind.secret and value not in ((), [])):
        return json.dumps(MASK)
    if isinstance(value, list | tuple):
        return f"[{', '.join(show_value(item, kind) for item in value)}]"
    if isinstance(value, str):
        return _quote(redact_url(value) if kind.url else _show_text(value))
    if isinstance(value, int | float):
        return json.dumps(value)
    return "{…}"


def _quote(text: str) -> str:
    # TOML escapes like JSON, and DEL as well. Bytes of the environment that are no UTF-8 come as surrogates,
    # which no terminal takes.
    plain = text.encode("utf-8", "replace").decode()
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")


def _show_text(text: str) -> str:
    # Whatever the key: a URL with a password and a key in PEM must not get out because they were misplaced.
    if "-----" in text or "\n" in text:
        return MASK
    return redact_url(text) if "://" in text and ("@" in text or "=" in text) else text


def describe(value: object, kind: Kind | None) -> str:
    """The same for a valid value: durations and sizes as people write them."""
    if kind is not None and kind.text is not str and isinstance(value, int | float):
        return json.dumps(kind.text(value))
    if kind is not None and kind.secret and isinstance(value, tuple):
        return json.dumps([MASK for _ in value])
    return show_value(value, kind)
