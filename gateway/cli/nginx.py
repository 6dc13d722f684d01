"""`gateway nginx`: the site to put in front, written from the settings in force."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.config import USAGE_ERROR, ConfigOption, load_or_exit


class TlsPlace(StrEnum):
    """Where TLS ends."""

    here = "here"
    upstream = "upstream"


class Part(StrEnum):
    """Which of the files."""

    site = "site"
    main = "main"
    sysctl = "sysctl"
    limits = "limits"


def nginx(
    domain: Annotated[str, typer.Option(help="The name that phones use, such as api.example.com.")],
    cert: Annotated[str, typer.Option(help="Certificate with its whole chain (fullchain.pem).")] = "",
    key: Annotated[str, typer.Option(help="Its private key.")] = "",
    config: ConfigOption = None,
    node: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT[,HTTP]]",
            help="A gateway node; may be repeated. Without: the one of this configuration.",
        ),
    ] = None,
    tls: Annotated[
        TlsPlace, typer.Option(help="`upstream`: a load balancer such as Tencent CLB ends TLS before nginx.")
    ] = TlsPlace.here,
    h5: Annotated[str, typer.Option(help="Directory of an H5 build, served at `/`.")] = "",
    listen: Annotated[
        list[str] | None, typer.Option(help="Where to listen; may be repeated. Without: 443 and [::]:443.")
    ] = None,
    http_listen: Annotated[
        list[str] | None, typer.Option(help="The same for the redirect from port 80.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Addresses to reach the nodes from, past 64,512 sockets for each node."),
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="Sockets that this machine is to hold.")] = 100_000,
    per_ip: Annotated[
        int, typer.Option(min=1, max=65_535, help="Sockets of one address: carriers share theirs.")
    ] = 2_000,
    www: Annotated[str, typer.Option(help="Directory with acme/ and verify/ in it.")] = "/var/www/wx-gateway",
    logs: Annotated[str, typer.Option(help="Directory of the logs.")] = "/var/log/nginx",
    part: Annotated[
        Part, typer.Option(help="`main` is nginx.conf, `sysctl` and `limits` are the system's limits.")
    ] = Part.site,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
) -> None:
    """Print an nginx site for this gateway: TLS, sockets, uploads, limits, JSON errors.

    \b
      gateway nginx --domain api.example.com --cert full.pem --key key.pem -o site.conf
      gateway nginx --domain api.example.com --tls upstream    behind a load balancer
      gateway nginx --domain api.example.com --part sysctl     the system's limits

    Its numbers come from gateway.toml. Write it again after a change there, then: nginx -t && nginx -s reload
    """
    from gateway.nginx.render import PARTS
    from gateway.nginx.site import Site, SiteError, parse_node

    _, loaded = load_or_exit(config)
    settings = loaded.settings
    defaults = Site(domain)
    try:
        site = Site(
            domain=domain,
            cert=cert,
            key=key,
            tls=tls.value,
            listen=tuple(listen or ()),
            http_listen=tuple(http_listen or defaults.http_listen),
            nodes=tuple(parse_node(each, settings) for each in node or ()),
            sources=tuple(source or ()),
            h5=h5,
            www=www,
            logs=logs,
            connections=connections,
            connections_per_ip=per_ip,
            written_by=_command(),
        )
        text = PARTS[part.value](site, settings)
    except SiteError as error:
        typer.echo(error, err=True)
        raise typer.Exit(USAGE_ERROR) from None
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


def _command() -> str:
    """The command line, to be found again in the file; it holds no secret."""
    words = [each for each in sys.argv[1:] if each.isprintable()]
    return " ".join(["gateway", *words])
