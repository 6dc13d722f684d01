"""The snippets of docs/backend-http.md in other languages than Python verify what the gateway signs."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from gateway.backend.proxy import sign
from tests.gateway_process import ROOT

BODY = '{"method":"order.pay","data":"茶"}'
NODE = "console.log(verify({}), verify({}))"
GO = """package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"
)

{snippet}
func main() {{ fmt.Println(verify({good}), verify({bad})) }}
"""


def snippet(language: str) -> str:
    page = (ROOT / "docs/backend-http.md").read_text()
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found
    return found[1]


def arguments(body: str, *, bytes_of: str = "{}", age: int = 0) -> str:
    """The four arguments, as literals that all of these languages read; signed is always `BODY`."""
    timestamp = str(int(time.time()) - age)
    signature = sign("s3cret", timestamp, BODY.encode())
    text = bytes_of.format("'" + body + "'") if bytes_of == "{}" else bytes_of.format("`" + body + "`")
    return f'"s3cret", "{timestamp}", "{signature}", {text}'


def run(*command: str, cwd: Path) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("bad", [{"body": "{}"}, {"body": BODY, "age": 120}])
def test_node_verifies_what_the_gateway_signs(bad: dict[str, object], tmp_path: Path) -> None:
    script = tmp_path / "verify.cjs"
    script.write_text(snippet("js") + NODE.format(arguments(BODY), arguments(**bad)))  # type: ignore[arg-type]
    assert run("node", str(script), cwd=tmp_path).split() == ["true", "false"]


def test_php_verifies_what_the_gateway_signs(tmp_path: Path) -> None:
    script = tmp_path / "verify.php"
    check = f"echo json_encode([verify({arguments(BODY)}), verify({arguments('{}')})]);"
    script.write_text(f"<?php\n{snippet('php')}\n{check}")
    assert run("php", str(script), cwd=tmp_path) == "[true,false]"


def test_go_verifies_what_the_gateway_signs(tmp_path: Path) -> None:
    good, bad = (arguments(body, bytes_of="[]byte({})") for body in (BODY, "{}"))
    (tmp_path / "main.go").write_text(GO.format(snippet=snippet("go"), good=good, bad=bad))
    assert run("go", "run", "main.go", cwd=tmp_path).split() == ["true", "false"]
