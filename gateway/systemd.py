"""What systemd is told (`Type=notify`, `NotifyAccess=all`): that the gateway serves.

Not that it is leaving: said by a worker that is restarted alone, it would end all of them.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send one state, such as `READY=1`; nothing where systemd does not ask. Never fails."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        # A leading @ stands for the zero byte of Linux's abstract names.
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
