"""Builds who clients are: the sign-in with WeChat, tokens of others, and what judges both."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from gateway.assembly.stores import Stores
from gateway.assembly.wechat import count_calls, wechat_apps
from gateway.auth.credentials import Authenticator
from gateway.auth.gate import Gate
from gateway.auth.jwks import Jwks
from gateway.auth.signin import SignIn
from gateway.auth.tokens import TokenVerifier
from gateway.config import Settings
from gateway.metrics import Metrics
from gateway.wechat.api import WeChatAPI


@dataclass(frozen=True, slots=True)
class SignInParts:
    """The parts, and what is needed to build their mini-programs again.

    Attributes:
        upstream: the client for WeChat and for key sets; it is not closed here.
    """

    sign_in: SignIn
    tokens: TokenVerifier
    authenticator: Authenticator
    jwks: Jwks | None
    upstream: httpx.AsyncClient
    metrics: Metrics
    sandbox_url: str

    def reload(self, settings: Settings) -> None:
        """Take over the secrets and mini-programs of another configuration."""
        self.tokens.load_keys(*_token_keys(settings))
        self.sign_in.load_apps(_apis(settings, self.upstream, self.metrics, self.sandbox_url))

    async def close(self) -> None:
        """End what is in flight."""
        await self.sign_in.close()
        if self.jwks is not None:
            await self.jwks.close()


def build_sign_in(
    settings: Settings,
    stores: Stores,
    gate: Gate,
    metrics: Metrics,
    upstream: httpx.AsyncClient,
    sandbox_url: str,
) -> SignInParts:
    """All of it. `gate`: who is not let in, whatever they bring."""
    rows = settings.wechat
    sign_in = SignIn(
        _apis(settings, upstream, metrics, sandbox_url),
        stores.sessions,
        stores.claims,
        max_sign_ins=rows.max_sign_ins,
        max_sign_ins_per_ip=rows.max_sign_ins_per_ip,
        gate=gate,
        windows=stores.windows,
        max_per_minute=rows.sign_ins_per_minute_per_ip,
    )
    jwks = Jwks(settings.client.token_jwks_url, upstream) if settings.client.token_jwks_url else None
    tokens = _verifier(settings, jwks)
    authenticator = Authenticator(
        settings.client,
        sign_in,
        tokens,
        metrics,
        time.time,
        gate,
        foreign_tokens=settings.backend.foreign_tokens,
    )
    return SignInParts(sign_in, tokens, authenticator, jwks, upstream, metrics, sandbox_url)


def _apis(
    settings: Settings, upstream: httpx.AsyncClient, metrics: Metrics, sandbox_url: str
) -> dict[str, WeChatAPI]:
    return {
        app.appid: WeChatAPI(app, settings.wechat.timeout, upstream, on_call=count_calls(metrics))
        for app in wechat_apps(settings, sandbox_url)
    }


def _verifier(settings: Settings, jwks: Jwks | None) -> TokenVerifier:
    secret, previous, pem = _token_keys(settings)
    return TokenVerifier(
        hmac_secret=secret,
        hmac_previous_secret=previous,
        public_key_pem=pem,
        jwks=jwks,
        audience=settings.client.token_audience,
        issuer=settings.client.token_issuer,
    )


def _token_keys(settings: Settings) -> tuple[str, str, str]:
    """The HMAC secret, the one before it, and the public key."""
    client = settings.client
    return (
        client.token_hmac_secret.get_secret_value(),
        client.token_hmac_previous_secret.get_secret_value(),
        client.public_key_pem(),
    )
