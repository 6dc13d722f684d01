"""Proof by trouble: numbered messages while things break. See `scripts/chaos --help`."""
