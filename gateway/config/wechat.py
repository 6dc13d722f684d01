"""Rows of `[wechat]`: the mini-programs, and signing in with them."""

from __future__ import annotations

from typing import Annotated

from pydantic import SecretStr

from gateway.config.types import (
    AESKey,
    Count,
    Flag,
    HttpUrl,
    Name,
    Positive,
    PositiveDuration,
    Rows,
    Secret,
    Text,
    tables,
)
from gateway.config.units import SECOND


class WeChatApp(Rows):
    """One mini-program, as `[[wechat.apps]]`."""

    appid: Name
    """AppID of the mini-program, `wx…`, from mp.weixin.qq.com."""
    secret: Secret = SecretStr("")
    """AppSecret beside it. It never leaves the server."""
    api_base: HttpUrl = "https://api.weixin.qq.com"
    """Where WeChat's API is. Change it for a proxy, or for a nearer entry such as
    `https://api2.weixin.qq.com`."""
    callback_token: Secret = SecretStr("")
    """The Token that you chose for the message push in the console, whose URL is
    `https://<your domain>/wx/callback`, or `/wx/callback/<appid>` with several apps. Empty: refused."""
    encoding_aes_key: AESKey = SecretStr("")
    """The EncodingAESKey beside it, 43 characters. Needed for the safe and the compatible mode."""
    callback_channel: Text = ""
    """Publish each pushed message to this channel too. Mind who may subscribe to it."""


class WeChat(Rows):
    """Signing users in with the code of `wx.login`."""

    sandbox: Flag = False
    """Use the built-in stand-in for WeChat: anyone may sign in as anyone. For laptops and tests;
    refused unless the http listener is on loopback."""
    apps: Annotated[tuple[WeChatApp, ...], tables(WeChatApp, "[[wechat.apps]]", "list")] = ()
    """The mini-programs served, each with the keys below. Without one, nobody can sign in with a code."""
    timeout: PositiveDuration = 5 * SECOND
    """Longest wait for one call to WeChat. Past it the phone is told to try again."""
    max_sign_ins: Positive = 64
    """Code sign-ins in flight on one node; more are told to come back later. Protects WeChat's quota and the
    node when everybody signs in at once."""
    max_sign_ins_per_ip: Positive = 8
    """The same for one address, so that one machine trying codes does not use up the node's share. Raise it
    if many of your users share an office or a school."""
    sign_ins_per_minute_per_ip: Count = 0
    """Code sign-ins of one address in a minute, over all nodes; an IPv6 address counts as its /64. 0 =
    unlimited. Mobile networks put thousands of phones behind one address: set it only while you have to."""
