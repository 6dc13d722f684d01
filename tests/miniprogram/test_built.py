"""The files that users copy: fresh, small, and readable for old phones."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from gateway.errors import DISCONNECTS, ERRORS
from gateway.version import __version__
from tests.gateway_process import ROOT
from tests.miniprogram.node import CLIENT, need_node, node
from tests.timing import MS

SIZE_LIMIT = 40 * 1024
BUILT = ("wx-gateway.js", "wx-gateway.mjs", "wx-gateway.d.ts", "THIRD-PARTY.txt")
BUILD_PATIENCE = 60_000 * MS


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build from the source."""
    need_node()
    folder = Path(tmp_path_factory.mktemp("build"))
    node("scripts/build.mjs", folder, patience=BUILD_PATIENCE)
    return folder


@pytest.mark.parametrize("name", BUILT)
def test_what_is_to_be_copied_is_what_the_source_says(fresh: Path, name: str) -> None:
    assert (CLIENT / name).read_text() == (fresh / name).read_text(), "npm run build in miniprogram/client"


def test_the_npm_package_holds_the_same_file(fresh: Path) -> None:
    assert (fresh / "miniprogram_dist/index.js").read_text() == (CLIENT / "wx-gateway.js").read_text()
    assert json.loads((CLIENT / "package.json").read_text())["miniprogram"] == "miniprogram_dist"


def test_everything_fits_into_forty_kilobytes() -> None:
    assert len(gzip.compress((CLIENT / "wx-gateway.js").read_bytes(), 9)) < SIZE_LIMIT


def test_old_phones_can_read_it() -> None:
    need_node()
    node("node_modules/acorn/bin/acorn", "--ecma5", "--silent", "wx-gateway.js", patience=20_000 * MS)


def test_the_source_has_the_types_that_it_claims() -> None:
    need_node()
    node("node_modules/typescript/bin/tsc", "-p", ".", patience=BUILD_PATIENCE)


def test_library_and_gateway_have_one_version() -> None:
    assert json.loads((CLIENT / "package.json").read_text())["version"] == __version__


def test_the_reference_says_what_the_source_says(tmp_path: Path) -> None:
    need_node()
    node("scripts/reference.mjs", tmp_path / "API.md", patience=20_000 * MS)
    assert (CLIENT / "API.md").read_text() == (tmp_path / "API.md").read_text(), "npm run reference"


def test_the_package_is_found_by_its_name_both_ways() -> None:
    need_node()
    patience = 20_000 * MS
    ask = "const { createGateway } = require('wx-gateway-client'); console.log(typeof createGateway)"
    assert node("-e", ask, patience=patience) == "function\n"
    ask = "import named, { LocalCode } from 'wx-gateway-client'; console.log(typeof named, LocalCode.TIMEOUT)"
    assert node("--input-type=module", "-e", ask, patience=patience) == "function 1\n"


def test_advice_stands_beside_texts_that_the_gateway_has() -> None:
    """Keyed by them: one that is changed would lose its advice in silence."""
    table = re.findall(r"^  (\d+): \['([^']+)', ", (CLIENT / "src/errors.ts").read_text(), re.MULTILINE)
    assert len(table) > 10
    texts = {code: error.message for code, error in ERRORS.items()}
    texts |= {code: disconnect.reason for code, disconnect in DISCONNECTS.items()}
    assert {int(code): text for code, text in table}.items() <= texts.items()


@pytest.mark.parametrize("page", ["mini-program.md", "mini-program.zh-CN.md"])
def test_the_codes_of_the_library_are_in_the_documentation(page: str) -> None:
    """An app translates by them."""
    codes = re.findall(r"^  ([A-Z_]+): (\d+),$", (CLIENT / "src/errors.ts").read_text(), re.MULTILINE)
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| .+ \|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert [(name, code) for code, name in rows] == codes != []
