"""A tea shop behind the gateway: the counter, and two ways to put it there.

handlers.py     Python handlers beside the gateway: `gateway dev examples.shop:gateway`
backend.py      a web service of its own, asked over HTTP; `proxies.toml` is the gateway's part
"""

from examples.shop.handlers import gateway

__all__ = ["gateway"]
