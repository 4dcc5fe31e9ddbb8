"""The command line."""

from iqattack.cli.app import main

__all__ = ["main"]
