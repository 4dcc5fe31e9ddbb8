"""The page of a run: what came of it, for people, opening from disk without a network."""

from iqattack.reporting.page import write_report

__all__ = ["write_report"]
