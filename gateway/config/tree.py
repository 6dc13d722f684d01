"""The raw values of a configuration: read from the file and the environment, merged, each with its origin.

Nothing here is validated; what cannot even be read becomes a problem, a line of text without any value in it.
"""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config.rows import find_kind, section_models
from gateway.config.types import KeyPath

PREFIX = "GATEWAY_"
CONFIG_VARIABLE = "GATEWAY_CONFIG"
TEST_PREFIX = "GATEWAY_TEST_"
"""Variables of the test suite, such as its time factor: not settings, and not mistakes either."""

DEFAULT, DEVELOPMENT, FILE, ENVIRONMENT, COMMAND_LINE = (
    "default",
    "development",
    "file",
    "environment",
    "command line",
)

_NEEDED: dict[KeyPath, dict[str, str]] = {
    ("wechat", "apps"): {"appid": "?{}"},
    ("backend", "proxies"): {"name": "?{}", "endpoint": "http://broken"},
}
"""Lists of tables, and what stands in for the keys that each of their items has to have."""


@dataclass(slots=True)
class Tree:
    """Raw values of all layers, merged, and the layer that each came from."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def merge(self, layer: Mapping[str, Any], origin: str, path: KeyPath = ()) -> None:
        """Lay `layer` over what is there: tables merge key by key, anything else replaces."""
        for key, value in layer.items():
            self.put((*path, key), value, origin)

    def put(self, path: KeyPath, value: object, origin: str) -> None:
        table: Any = self.values
        for key in path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                # A text where a table belongs: it stays, because validation has to see and report it.
                return
        if isinstance(value, Mapping):
            if not isinstance(table.get(path[-1]), dict):
                table[path[-1]] = {}
                self.origins[path] = origin
            self.merge(value, origin, path)
        else:
            # A copy, so that nobody's defaults change when a broken value is taken out of the tree.
            table[path[-1]] = copy.deepcopy(value)
            self.origins[path] = origin

    def origin(self, path: KeyPath) -> str:
        """The layer of the value at `path`."""
        return origin_of(self.origins, path)

    def get(self, path: KeyPath) -> object:
        value: Any = self.values
        for key in path:
            value = value[key]
        return value

    def remove(self, path: KeyPath) -> None:
        """Take a broken value out, so that its default stands in while the rules look at the rest."""
        if path[:2] in _NEEDED and len(path) > 2:
            self._mend_item(path[:2], int(path[2]), path[3:])
        else:
            table: Any = self.get(path[:-1])
            table.pop(path[-1], None)

    def _mend_item(self, path: KeyPath, index: int, broken: KeyPath) -> None:
        # An item cannot be without its needed keys, and taking it out would renumber the others.
        items: Any = self.get(path)
        item = items[index] if isinstance(items[index], dict) and broken else {}
        needed = {key: text.format(index) for key, text in _NEEDED[path].items()}
        items[index] = needed | {key: value for key, value in item.items() if key not in broken}


def origin_of(origins: Mapping[KeyPath, str], path: KeyPath) -> str:
    """The origin noted for `path`; a list has one origin for all that is in it, a table has not."""
    for index, key in enumerate(path):
        if isinstance(key, int):
            return origins.get(path[:index], DEFAULT)
    return origins.get(path, DEFAULT)


def read_file(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Problems and values of the TOML file at `path`."""
    try:
        # "utf-8-sig": Windows editors put a byte order mark in front, which TOML knows nothing of.
        return [], tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problem = f"there is no such file; make one with: gateway config show > {path}"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 at byte {error.start}; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        # Its text has the line, the column and the name of a key at most: never a value.
        problem = f"not TOML: {error}"
    return [f"{path}: {problem}"], {}


def variables() -> dict[str, KeyPath]:
    """The name of every environment variable there is, and the key that it sets."""
    return {
        variable(section, key): (section, key)
        for section, model in section_models().items()
        for key in model.model_fields
    }


def variable(section: str, key: str) -> str:
    """The environment variable of a key."""
    return f"{PREFIX}{section.upper()}__{key.upper()}"


def merge_environment(tree: Tree, environ: Mapping[str, str]) -> list[str]:
    """Lay the variables over `tree`; a variable that sets nothing is a problem, since it was meant to."""
    problems, known = [], variables()
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name == CONFIG_VARIABLE:
            continue
        kind = find_kind(known.get(name, ()))
        if kind is None:
            mend = write_instead(name, known) or "; unset it"
            problems.append(f"environment {name}: unknown variable{mend}")
        else:
            tree.put(known[name], kind.environment(environ[name]), f"{ENVIRONMENT} {name}")
    return problems


def write_instead(word: str, known: Iterable[str]) -> str:
    """ ", write … instead" where something known is near, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", write {close[0]} instead" if close else ""
