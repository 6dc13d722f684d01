"""Logs: structlog over the standard library, as lines for people or JSON for machines, on standard error.

DEBUG is one connection's life, INFO what a client did wrong, WARNING what the operator may want to know,
ERROR what somebody has to mend. Each line about a connection carries `client`, its id.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

SECRET_KEYS: Final = frozenset(
    {"token", "secret", "session_key", "js_code", "wx_code", "api_key", "password", "authorization"}
)
"""Keys whose values never reach a log, whoever wrote them there."""
MASK: Final = "**********"
NOISY: Final = ("asyncio", "httpx", "httpcore", "uvicorn.error")
"""Loggers of libraries of which only warnings are of use."""


def _mask_secrets(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    for key in SECRET_KEYS & event.keys():
        event[key] = MASK
    return event


class _WithoutDebug(structlog.stdlib.BoundLogger):
    """Debug lines go nowhere, at once: each connection has some, and each would ask for the level."""

    def debug(self, event: str | None = None, *args: Any, **kw: Any) -> None:
        return None


def setup(level: str, style: str) -> None:
    """Configure all loggers of the process.

    Arguments:
        level: debug, info, warning or error.
        style: console, json, or auto: console on a terminal.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger if level.upper() == "DEBUG" else _WithoutDebug,
        cache_logger_on_first_use=True,
    )
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(console)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _renderer(console: bool) -> list[Processor]:
    if console:
        # Plain tracebacks: the pretty ones print local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
