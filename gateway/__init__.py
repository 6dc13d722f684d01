"""The realtime gateway for WeChat mini-programs.

from gateway import Gateway            handlers in Python, run by `gateway serve module:name`
from gateway import Publisher          publish over Redis from any other program, with asyncio
from gateway import SyncPublisher      the same for Django, Celery and scripts
"""

from gateway.backend.answers import (
    ConnectAnswer,
    PublishAnswer,
    RefreshAnswer,
    SubRefreshAnswer,
    SubscribeAnswer,
    Subscription,
)
from gateway.backend.app import Gateway
from gateway.backend.base import ConnectEvent, UploadedFile, UserEvent
from gateway.backend.context import Context, SyncContext
from gateway.backend.testing import Refused, TestClient
from gateway.client import Caller
from gateway.errors import ClientError, Disconnect, Error
from gateway.version import __version__
from gateway.wechat.callback import WeChatEvent

__all__ = [
    "Caller",
    "ClientError",
    "ConnectAnswer",
    "ConnectEvent",
    "Context",
    "Disconnect",
    "Error",
    "Gateway",
    "PublishAnswer",
    "RefreshAnswer",
    "Refused",
    "SubRefreshAnswer",
    "SubscribeAnswer",
    "Subscription",
    "SyncContext",
    "TestClient",
    "UploadedFile",
    "UserEvent",
    "WeChatEvent",
    "__version__",
]
