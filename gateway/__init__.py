"""The realtime gateway for WeChat mini-programs.

from gateway import Gateway            handlers in Python, run by `gateway serve module:name`
from gateway import Publisher          publish over Redis from any other program, with asyncio
from gateway import SyncPublisher      the same for Django, Celery and scripts
"""

from gateway.backend.app import Gateway
from gateway.backend.base import UserEvent
from gateway.client import Caller
from gateway.errors import ClientError, Disconnect, Error
from gateway.version import __version__
from gateway.wechat.callback import WeChatEvent

__all__ = [
    "Caller",
    "ClientError",
    "Disconnect",
    "Error",
    "Gateway",
    "UserEvent",
    "WeChatEvent",
    "__version__",
]
