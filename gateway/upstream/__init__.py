"""Calls to other people's servers: bounded, and cut off while they fail."""
