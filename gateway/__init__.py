"""The realtime gateway for WeChat mini-programs.

    from gateway import Gateway

is what a team's own code needs: handlers in Python, run by `gateway serve module:name`.
"""

from gateway.backend.app import Gateway
from gateway.client import Caller
from gateway.errors import ClientError, Disconnect, Error
from gateway.version import __version__

__all__ = ["Caller", "ClientError", "Disconnect", "Error", "Gateway", "__version__"]
