"""Django Channels on daphne: a consumer, and a group on the in-memory channel layer."""

from __future__ import annotations

import os
import sys
from typing import Any

import django
import jwt
from control import content
from daphne.cli import CommandLineInterface
from django.conf import settings

SECRET = os.environ["BENCH_SECRET"]

settings.configure(
    SECRET_KEY=SECRET, ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", MIDDLEWARE=[], LOGGING_CONFIG=None,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)  # fmt: skip
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


class Consumer(AsyncWebsocketConsumer):
    known = False

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.known:
            await self.send(text_data=text_data)
            return
        jwt.decode(text_data or "", SECRET, algorithms=["HS256"])
        self.known = True
        await self.channel_layer.group_add("bench", self.channel_name)
        await self.send(text_data="ready")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("bench", self.channel_name)

    async def bench_news(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


async def publish(request: HttpRequest) -> JsonResponse:
    layer, message = get_channel_layer(), content(int(request.GET["size"]))
    for _ in range(int(request.GET["count"])):
        await layer.group_send("bench", {"type": "bench.news", "text": message})
    return JsonResponse({}, headers={"Content-Length": "2"})


urlpatterns = [path("publish", publish)]
application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": Consumer.as_asgi()})

if __name__ == "__main__":
    # daphne imports the application by name: it is this module.
    sys.modules["channels_server"] = sys.modules["__main__"]
    sys.exit(CommandLineInterface().run([
        "--bind", "127.0.0.1", "--port", sys.argv[1], "--ping-interval", "3600", "--ping-timeout", "3600",
        "--verbosity", "0", "channels_server:application",
    ]))  # fmt: skip
