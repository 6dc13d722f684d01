"""The shape of the house: who may know whom, what pure rooms may not touch, and that every room is tested."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gateway"
TESTS = ROOT / "tests"

FLOORS: list[set[str]] = [
    {"deadlines", "errors", "logs", "systemd", "upstream", "version"},
    {"config", "frames", "metrics", "protocol", "wechat"},
    {"brokers", "channels", "client", "outbox", "sockets", "storage"},
    {"auth", "hub", "supervisor"},
    {"backend"},
    {"inbox", "node", "online"},
    {"notify", "protection", "publisher", "safety"},
    {"files", "loadtest", "publisher_sync", "websocket"},
    {"capacity", "http"},
    {"assembly", "nginx"},
    {"doctor", "server"},
    {"cli"},
    {"__init__", "__main__"},
]
"""The rooms from the ground up: the modules and packages in `gateway`. Imports point down."""

PURE = (
    "capacity.formula", "channels", "client", "config.units", "deadlines", "errors", "frames", "hub",
    "node.recovery", "online.contract", "online.machine", "outbox", "protocol", "websocket.admission",
    "websocket.peers",
)  # fmt: skip
"""Modules without waiting, sockets, clocks and chance: what they need to know of the world is an argument."""

IMPURE = frozenset(
    "aiohttp anyio asyncio datetime httpx os pathlib random redis requests secrets selectors signal socket"
    " ssl subprocess threading time uuid uvloop websockets".split()
)
MASKING = {"websockets.speedups.apply_mask", "websockets.utils.apply_mask"}
"""All that a pure room may have of the WebSocket library."""

EXTRAS = {"boto3", "botocore"}
"""Libraries that may not be installed: they are imported where they are needed."""
ON_DEMAND = {
    ("gateway.cli", "gateway.cli.reload"),
    ("gateway.cli", "uvloop"),
    ("gateway.cli.capacity", "asyncio"),
    ("gateway.cli.capacity", "gateway.capacity"),
    ("gateway.cli.capacity", "rich"),
    ("gateway.cli.doctor", "gateway.doctor"),
    ("gateway.cli.doctor", "rich"),
    ("gateway.cli.loadtest", "asyncio"),
    ("gateway.cli.loadtest", "dataclasses"),
    ("gateway.cli.loadtest", "gateway.errors"),
    ("gateway.cli.loadtest", "gateway.loadtest"),
    ("gateway.cli.loadtest", "msgspec"),
    ("gateway.cli.loadtest", "resource"),
    ("gateway.cli.loadtest", "rich"),
    ("gateway.cli.nginx", "gateway.nginx"),
    ("gateway.files.service", "gateway.storage.s3"),
}
"""What one command or setting needs and no other should pay for."""

COVERED_BY = {
    "__init__": "test_server_api.py",
    "__main__": "test_listener.py",
    "assembly": "test_listener.py",
    "auth": "test_signin.py",
    "backend": "test_backend.py",
    "brokers": "test_broker_contract.py",
    "cli": "test_cli_config.py",
    "doctor": "test_servers.py",
    "files": "test_files_upload.py",
    "inbox": "test_inbox_contract.py",
    "http": "test_server_api.py",
    "nginx": "test_nginx_render.py",
    "node": "test_nodes.py",
    "notify": "test_notify.py",
    "publisher_sync": "test_publisher.py",
    "server": "test_listener.py",
    "sockets": "test_workers.py",
    "storage": "test_storage_contract.py",
    "supervisor": "test_workers.py",
    "systemd": "test_workers.py",
    "upstream": "test_fetch.py",
    "version": "test_server_api.py",
    "websocket": "test_rfc6455.py",
    "wechat": "test_wechat_api.py",
}
"""Rooms without a test file of their own name, and the file that tests them."""


@dataclass(frozen=True)
class Import:
    """`target`: a module, or a name in one, dotted."""

    source: str
    target: str
    line: int
    hidden: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_in(source: str, node: ast.AST, *, hidden: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(source, alias.name, child.lineno, hidden) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, f"{source}:{child.lineno}: a relative import"
            for alias in child.names:
                yield Import(source, f"{child.module}.{alias.name}", child.lineno, hidden)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports_in(source, child, hidden=hidden or inside)


@cache
def all_imports() -> list[Import]:
    return [
        found
        for name, path in modules().items()
        for found in imports_in(name, ast.parse(path.read_text(encoding="utf-8")))
    ]


def target_module(found: Import) -> str | None:
    """The module of ours that is imported; None: it is somebody else's."""
    name = found.target
    if name.split(".")[0] != "gateway":
        return None
    return name if name in modules() else name.rpartition(".")[0]


def floor(name: str) -> int:
    """A room that is not listed counts as the top one; another test names it."""
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), len(FLOORS))


def test_every_room_is_on_one_floor() -> None:
    listed = [name for rooms in FLOORS for name in rooms]
    assert len(listed) == len(set(listed))
    assert {room(name) for name in modules()} == set(listed), (
        "give a new room a floor, forget a room that is gone"
    )


def test_imports_point_only_to_lower_floors() -> None:
    wrong = [
        str(found)
        for found in all_imports()
        if (target := target_module(found)) is not None
        and room(target) != room(found.source)
        and floor(room(target)) >= floor(room(found.source))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    known: dict[str, set[str]] = {name: set() for name in modules()}
    for found in all_imports():
        target = target_module(found)
        if target is not None and target != found.source:
            known[found.source].add(target)
    while known:  # take away, again and again, the modules that know nobody who is left
        free = {name for name, others in known.items() if not others & known.keys()}
        assert free, f"in or behind a circle: {sorted(known)}"
        known = {name: others for name, others in known.items() if name not in free}


def test_no_import_hides_in_a_function() -> None:
    allowed = {source: {target for each, target in ON_DEMAND if each == source} for source, _ in ON_DEMAND}
    hidden = [
        str(found)
        for found in all_imports()
        if found.hidden
        and found.target.split(".")[0] not in EXTRAS
        and not any(f"{found.target}.".startswith(f"{each}.") for each in allowed.get(found.source, ()))
    ]
    assert not hidden, "\n".join(hidden)


def test_nobody_imports_the_front_door() -> None:
    """`import gateway` is for applications: inside, everybody names the room that is meant."""
    assert not [str(found) for found in all_imports() if target_module(found) == "gateway"]


@pytest.mark.parametrize("name", PURE)
def test_a_pure_room_touches_nothing_of_the_world(name: str) -> None:
    wrong = [
        str(found)
        for found in all_imports()
        if found.source == f"gateway.{name}"
        and found.target.split(".")[0] in IMPURE
        and found.target not in MASKING
    ]
    assert not wrong, "\n".join(wrong)
    tree = ast.parse(modules()[f"gateway.{name}"].read_text(encoding="utf-8"))
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(tree) if isinstance(node, waiting)], "it waits"


def test_only_frames_masks_with_the_library() -> None:
    users = {found.source for found in all_imports() if found.target in MASKING}
    assert users == {"gateway.frames"}


def test_every_room_is_tested() -> None:
    files = {path.name for path in TESTS.rglob("test_*.py")}
    untested = {
        name
        for name in {room(module) for module in modules()}
        if f"test_{name}.py" not in files and COVERED_BY.get(name) not in files
    }
    assert not untested, "write tests/test_<room>.py, or name the file that tests the room in COVERED_BY"


def test_the_lists_of_rooms_name_rooms() -> None:
    rooms = {room(module) for module in modules()}
    assert COVERED_BY.keys() <= rooms
    assert {f"gateway.{name}" for name in PURE} <= modules().keys()
