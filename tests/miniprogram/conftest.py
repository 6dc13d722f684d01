"""The gateway that the phones of the library talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_process import API_KEY, GatewayProcess, token, unique
from tests.miniprogram.node import need_node

CLIENT = """\
ping_interval = "1s"
pong_timeout = "900ms"
user_connection_limit = 0
"""
MORE = """\
[channels.namespaces.short]
allow_subscribe_for_client = true
history_size = 3
history_ttl = "5m"
force_recovery = true
"""


@pytest.fixture(scope="session")
def phones_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Pings every second, so that silence is noticed soon; all phones come from one address."""
    need_node()
    gateway = GatewayProcess(Path(tmp_path_factory.mktemp("phones")), client=CLIENT, more=MORE)
    limits = "[wechat]\nmax_sign_ins = 1000\nmax_sign_ins_per_ip = 1000\n"
    gateway.config = gateway.config.replace("[wechat]\n", limits).replace('timeout = "1s"', 'timeout = "20s"')
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def gateway_variables(phones_gateway: GatewayProcess) -> dict[str, str]:
    """Where the suites in Node find it."""
    return {
        "GATEWAY_SOCKET": phones_gateway.url,
        "GATEWAY_HTTP": phones_gateway.http_url,
        "GATEWAY_API": phones_gateway.api_url,
        "GATEWAY_KEY": API_KEY,
        "GATEWAY_JWT": token("jwt-user"),
        "GATEWAY_JWT_EXPIRED": token("jwt-user", ttl=-5),
        "GATEWAY_RUN": unique("run"),
    }
