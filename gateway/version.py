"""The version, in one place: the package, the connect reply and `/api/info` read it here."""

__version__ = "0.1.0"
