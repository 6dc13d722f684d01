"""The examples: the native one is compiled here. Taro and uni-app: scripts/test-client-toolchains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway_process import ROOT
from tests.miniprogram.node import CLIENT, need_node, node
from tests.timing import MS

EXAMPLES = ROOT / "miniprogram/examples"
COMPILERS = ROOT / "tests/demo"
FRAMEWORKS = ("taro", "uni-app")


def test_the_native_example_has_the_types_of_wx_and_of_the_library() -> None:
    need_node()
    tsc = CLIENT / "node_modules/typescript/bin/tsc"
    node(tsc, "-p", EXAMPLES / "native", patience=60_000 * MS)


def test_compilers_of_wechat_take_the_native_example() -> None:
    need_node(COMPILERS)
    compilers, project = json.dumps(str(COMPILERS / "project.js")), json.dumps(str(EXAMPLES / "native"))
    node("-e", f"require({compilers}).compile({project})", patience=20_000 * MS)


def test_the_native_example_is_whole() -> None:
    native = EXAMPLES / "native"
    for page in json.loads((native / "app.json").read_text())["pages"]:
        for kind in ("js", "json", "wxml", "wxss"):
            assert (native / f"{page}.{kind}").is_file(), f"{page}.{kind}"
    project = json.loads((native / "project.config.json").read_text())
    assert project["setting"]["urlCheck"] is False, "the developer tools let 127.0.0.1 through"


@pytest.mark.parametrize("name", ["native", *FRAMEWORKS])
def test_every_example_uses_this_library_and_names_no_registry(name: str) -> None:
    folder: Path = EXAMPLES / name
    dependencies = json.loads((folder / "package.json").read_text())["dependencies"]
    assert dependencies["wx-gateway-client"] == "file:../../client"
    if name in FRAMEWORKS:
        packages = json.loads((folder / "package-lock.json").read_text())["packages"].values()
        assert {each["resolved"] for each in packages if "resolved" in each} == {"../../client"}
