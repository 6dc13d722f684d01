"""`gateway dev shop:gw`: what is said where that cannot be, and starting again when a file changes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import typer

from gateway.cli.handlers import load_handlers
from tests.dev_gateway import dev_gateway
from tests.sdk.python_phone import PythonPhone
from tests.timing import MS, until

SHOP = """
from gateway import Gateway

gw = Gateway()


@gw.rpc("price")
async def price(ctx, data):
    return {price}
"""


@pytest.mark.parametrize(
    ("argument", "module", "said"),
    [
        ("nowhere:gw", "", "no module 'nowhere' in "),
        ("package.inside:gw", "", "no module 'package' in "),
        ("shop.py:gw", "", "write the module, shop:gw"),
        ("./shop.py", "", "write the module, shop:gw"),
        ("shop:app", "from gateway import Gateway\ngw = Gateway()", "named 'app'; it has shop:gw"),
        ("shop:gw", "gw = 17", "named 'gw', but a int"),
        ("shop", "", "named 'gw' or 'gateway'"),
        ("shop:gw", "import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("shop:gw", "def broken(:\n    pass", "SyntaxError"),
        (
            "shop:gw",
            "from gateway import Gateway\ngw = Gateway()\n@gw.rpc('m')\nasync def f(a, b, c): ...",
            "shop: f: 'c' is one too many",
        ),
    ],
)
def test_what_is_wrong_with_the_handlers_is_said(
    argument: str,
    module: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "shop.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    with pytest.raises(typer.Exit) as left:
        load_handlers(argument)
    printed = capsys.readouterr().err
    assert left.value.exit_code == 2
    assert said in printed
    assert "importlib" not in printed


async def test_a_change_of_a_file_starts_again_and_phones_come_back(tmp_path: Path) -> None:
    shop = tmp_path / "shop.py"
    shop.write_text(SHOP.replace("{price}", "1"))
    command = (sys.executable, "-m", "gateway", "dev", "shop:gw", "--reload")
    with dev_gateway(tmp_path, command, cwd=tmp_path, GATEWAY_CLIENT__ALLOW_ANONYMOUS="true") as gateway:
        phone = PythonPhone()
        await phone.start(f"ws://127.0.0.1:{gateway.ports[0]}/connection/websocket")
        try:
            await phone.connect()
            assert (await phone.act("rpc", method="price", data=None))["data"] == 1
            shop.write_text("this is no Python")
            await phone.event("connecting", code=3001)
            await until(lambda: "SyntaxError" in gateway.printed(), within=20_000 * MS)
            before = len(phone.events)
            shop.write_text(SHOP.replace("{price}", "2"))
            async with asyncio.timeout(20_000 * MS):
                while not phone.seen("connected")[1:]:
                    await asyncio.sleep(20 * MS)
            await phone.event("connected", after=before)
            assert (await phone.act("rpc", method="price", data=None))["data"] == 2
        finally:
            await phone.stop()
