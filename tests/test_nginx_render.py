"""The rendered front: numbers come from the settings, bad input is refused, nginx takes what comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import Settings, load
from gateway.http.app import BODY_LIMIT
from gateway.http.listener import KEEP_ALIVE
from gateway.nginx.render import PARTS, render_limits, render_main, render_site, render_sysctl
from gateway.nginx.site import MULTIPART_OVERHEAD, Node, Site, SiteError, own_nodes, parse_node
from tests.certificates import Authority
from tests.gateway_process import free_port
from tests.nginx_process import NginxProcess

ROOT = Path(__file__).resolve().parent.parent
DOMAIN = "api.example.com"
SITE = Site(DOMAIN, cert="/etc/ssl/wx/fullchain.pem", key="/etc/ssl/wx/key.pem")
BEHIND = {"websocket": {"trusted_proxies": ["127.0.0.1/32", "::1/128", "10.0.0.0/16"]}}


def settings(**sections: Any) -> Settings:
    return load(None, {}, sections)


def value(text: str, directive: str) -> str:
    """Of the directive's only or first occurrence."""
    found = re.search(rf"^\s*{directive}\s+([^;]+);", text, re.MULTILINE)
    assert found, f"no {directive}"
    return found[1]


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def location(text: str, name: str) -> str:
    """The block of a location."""
    start = text.index(f"location {name} {{")
    return text[start : text.index("\n    }", start)]


# ---------------------------------------------------------------------------- no number is written twice
@pytest.mark.parametrize("size", ["10MB", "1MB", "200MB"])
def test_uploads_may_be_as_large_as_the_gateway_takes(size: str) -> None:
    chosen = settings(files={"max_upload_size": size})
    files = location(render_site(SITE, chosen), "~ ^/files(/|$)")
    assert int(value(files, "client_max_body_size")) == chosen.files.max_upload_size + MULTIPART_OVERHEAD
    assert value(files, "proxy_request_buffering") == "off"


@pytest.mark.parametrize(("ping", "pong"), [("25s", "8s"), ("55s", "20s"), ("200ms", "100ms")])
def test_nginx_waits_longer_than_the_gateway_pings(ping: str, pong: str) -> None:
    chosen = settings(client={"ping_interval": ping, "pong_timeout": pong})
    sockets = location(render_site(SITE, chosen), "= /connection/websocket")
    for directive in ("proxy_read_timeout", "proxy_send_timeout"):
        limit = seconds(value(sockets, directive))
        assert limit > chosen.client.ping_interval + chosen.client.pong_timeout
        assert limit >= 2 * chosen.client.ping_interval


def test_the_other_numbers() -> None:
    chosen = settings(listen={"backlog": 2222}, wechat={"timeout": "7s"})
    text = render_site(SITE, chosen)
    assert "backlog=2222" in text
    assert "somaxconn = 2222" in render_sysctl(SITE, chosen)
    assert seconds(value(location(text, "/wx/"), "proxy_read_timeout")) > chosen.wechat.timeout
    server = text[text.index("listen 443") :]
    assert int(value(server, "client_max_body_size")) == BODY_LIMIT
    upstream = text[text.index("upstream wx_http") :]
    assert seconds(value(upstream, "keepalive_timeout")) < KEEP_ALIVE


def test_the_listeners_are_the_nodes() -> None:
    chosen = settings(listen={"websocket": "127.0.0.1:7000", "http": "127.0.0.1:7001"})
    text = render_site(SITE, chosen)
    assert "server 127.0.0.1:7000 max_fails" in text
    assert "server 127.0.0.1:7001 max_fails" in text
    everywhere = settings(listen={"websocket": "0.0.0.0:7000", "http": "0.0.0.0:7001"})
    assert own_nodes(everywhere) == (Node("127.0.0.1", 7000, 7001),)
    with pytest.raises(SiteError, match="--node"):
        own_nodes(settings(listen={"websocket": "127.0.0.1:7000", "http": "10.0.0.1:7001"}))


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("10.0.0.5", Node("10.0.0.5", 8000, 8001)),
        ("10.0.0.5:7000", Node("10.0.0.5", 7000, 8001)),
        ("10.0.0.5:7000,7001", Node("10.0.0.5", 7000, 7001)),
        ("node-a.internal", Node("node-a.internal", 8000, 8001)),
        ("[fd00::1]:7000", Node("fd00::1", 7000, 8001)),
        ("[fd00::1]", Node("fd00::1", 8000, 8001)),
    ],
)
def test_nodes(text: str, node: Node) -> None:
    assert parse_node(text, settings()) == node
    assert f"server {node.socket_address} max_fails=0;" in render_site(
        Site(DOMAIN, "/c", "/k", nodes=(node,)), settings()
    )


@pytest.mark.parametrize("text", ["", "10.0.0.5:x", "10.0.0.5:1,x", "a b", "10.0.0.5:99999", "host;"])
def test_what_is_no_node(text: str) -> None:
    with pytest.raises(SiteError, match="--node"):
        parse_node(text, settings())


def test_several_nodes_and_source_addresses() -> None:
    nodes = tuple(Node(f"10.0.0.{number}", 8000, 8001) for number in (5, 6))
    site = Site(DOMAIN, "/c", "/k", nodes=nodes, sources=("127.0.0.1", "127.0.0.2"))
    with pytest.raises(SiteError, match="trusted_proxies"):
        render_site(site, settings())
    text = render_site(site, settings(websocket={"trusted_proxies": ["127.0.0.0/8"]}))
    assert text.count("server 10.0.0.") == 4
    assert "least_conn;" in text
    assert "50% 127.0.0.1;\n    * 127.0.0.2;" in text
    assert "proxy_bind $wx_source;" in text


def test_limits_for_many_sockets() -> None:
    site = Site(DOMAIN, connections=100_000, logs="/srv/logs")
    main, limits = render_main(site, settings()), render_limits(site, settings())
    assert value(main, "error_log") == "/srv/logs/error.log"
    assert int(value(main, "worker_connections")) > 2 * 100_000
    assert int(value(main, "worker_rlimit_nofile")) > int(value(main, "worker_connections"))
    assert f"LimitNOFILE={value(main, 'worker_rlimit_nofile')}" in limits
    assert "ip_local_port_range = 1024 65535" in render_sysctl(site, settings())
    assert "ip_local_reserved_ports = 8000,8001,9000" in render_sysctl(site, settings())


# ---------------------------------------------------------------------------- what must never be in it
def test_the_internal_listener_is_nowhere() -> None:
    chosen = settings(listen={"internal": "127.0.0.1:9876"})
    for render in (render_site, render_main):
        assert "9876" not in render(SITE, chosen)


def test_no_log_has_a_query() -> None:
    text = render_site(SITE, settings())
    log_format = text[text.index("log_format") : text.index("}';")]
    for variable in ("$request ", '$request"', "$request_uri", "$args", "$query_string", "$http_referer"):
        assert variable not in log_format


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"domain": "1.2.3.4"}, "--domain"),
        ({"domain": "localhost"}, "--domain"),
        ({"domain": "api.example.com:443"}, "--domain"),
        ({"domain": "a.com; } server {"}, "--domain"),
        ({"cert": ""}, "--cert"),
        ({"cert": "relative.pem"}, "absolute"),
        ({"key": "/a b"}, "absolute"),
        ({"h5": "/srv/x;\nroot /"}, "absolute"),
        ({"logs": "/var/log/{}"}, "absolute"),
        ({"listen": ("443 default_server",)}, "--listen"),
        ({"sources": ("lo",)}, "--source"),
        ({"tls": "upstream"}, "trusted_proxies"),
    ],
)
def test_what_would_break_the_file_is_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(SiteError, match=word):
        render_site(Site(**{"domain": DOMAIN, "cert": "/c", "key": "/k", **change}), settings())


def test_a_relative_folder_of_files_is_refused() -> None:
    with pytest.raises(SiteError, match=r"files\.directory"):
        render_site(SITE, settings(files={"accel_location": "/protected/"}))


# ---------------------------------------------------------------------------- variants
def test_downloads_by_nginx() -> None:
    chosen = settings(files={"accel_location": "/protected/", "directory": "/srv/files/"})
    block = location(render_site(SITE, chosen), "^~ /protected/")
    assert "internal;" in block
    assert "alias /srv/files/files/;" in block
    assert "sendfile on;" in block
    assert "X-Accel" not in render_site(SITE, settings())


def test_tls_that_ends_before_nginx() -> None:
    text = render_site(Site(DOMAIN, tls="upstream"), settings(**BEHIND))
    assert "ssl_" not in text.replace("$ssl_", "")
    assert "listen 80 backlog=4096;" in text
    assert "set_real_ip_from 10.0.0.0/16;" in text
    assert "127.0.0.1/32" not in text
    assert "real_ip_recursive on;" in text


def test_an_h5_build_and_the_documentation() -> None:
    text = render_site(Site(DOMAIN, "/c", "/k", h5="/srv/h5"), settings(http={"docs": False}))
    assert "root /srv/h5;" in text[text.rindex("location / {") :]
    assert "openapi" not in text
    assert "openapi" in render_site(SITE, settings())


# ---------------------------------------------------------------------------- nginx -t
@pytest.mark.parametrize("variant", ["here", "upstream", "everything"])
def test_nginx_takes_it(tmp_path: Path, variant: str) -> None:
    pair = Authority(tmp_path).issue(DOMAIN)
    more: dict[str, Any] = {
        "listen": (f"127.0.0.1:{free_port()}",),
        "logs": str(tmp_path),
        "www": str(tmp_path),
    }
    more["http_listen"] = (f"127.0.0.1:{free_port()}",)
    chosen = settings()
    if variant == "upstream":
        more["tls"] = "upstream"
        chosen = settings(**BEHIND)
    elif variant == "everything":
        chosen = settings(
            files={"accel_location": "/protected/", "directory": str(tmp_path)},
            websocket={"trusted_proxies": ["127.0.0.0/8"]},
        )
        more |= {"h5": str(tmp_path), "sources": ("127.0.0.1", "127.0.0.2", "127.0.0.3")}
        more["nodes"] = (Node("127.0.0.1", 8000, 8001), Node("127.0.0.1", 8010, 8011))
    text = render_site(Site(DOMAIN, str(pair.cert), str(pair.key), **more), chosen)
    said = NginxProcess(tmp_path / "nginx", [text], []).check()
    assert "[warn]" not in said and "[emerg]" not in said


# ---------------------------------------------------------------------------- the command and the examples
def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["nginx", *arguments])


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "site.conf"
    done = run(
        "--domain", DOMAIN, "--cert", "/c.pem", "--key", "/k.pem", "--node", "10.0.0.5", "-o", str(out)
    )
    assert done.exit_code == 0, done.output
    assert "server 10.0.0.5:8000 " in out.read_text()
    assert "server_name api.example.com;" in run("--domain", DOMAIN, "--cert", "/c", "--key", "/k").output
    refused = run("--domain", "10.0.0.1", "--cert", "/c", "--key", "/k")
    assert refused.exit_code == 2
    assert "--domain" in refused.output


EXAMPLES = {
    "wx-gateway.conf": ("site", SITE, {}),
    "wx-gateway-behind-clb.conf": ("site", Site(DOMAIN, tls="upstream"), BEHIND),
    "nginx.conf": ("main", SITE, {}),
    "99-wx-gateway-sysctl.conf": ("sysctl", SITE, {}),
    "limits.conf": ("limits", SITE, {}),
}
"""The files in nginx/, written by scripts/render-nginx."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_what_is_rendered(name: str) -> None:
    part, site, sections = EXAMPLES[name]
    text = PARTS[part](site, settings(**sections))
    assert (ROOT / "nginx" / name).read_text() == text, "write it again: scripts/render-nginx"
