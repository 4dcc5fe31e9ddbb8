"""The version, in a place where modules below the API can import it."""

__version__ = "0.2.0"
