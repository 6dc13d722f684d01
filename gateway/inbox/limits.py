"""How much the ledger of one user holds."""

from __future__ import annotations

from typing import Final

from gateway.config.units import DAY

TEMPLATES: Final = 50
"""Templates in the ledger of one user; a mini-program has at most 50."""
GRANTS: Final = 1_000_000
"""Most messages of one template: long-term subscriptions are entered as a large number."""
LEDGER_KEPT: Final = 365 * DAY
"""Seconds that a ledger is kept after its last change."""
