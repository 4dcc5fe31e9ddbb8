"""The version, where modules below the API can read it."""

__version__ = "0.2.0.dev0"
