"""The pages of runs, audits and leaderboards, which open from disk without a network."""

from iqattack.reporting.card_page import write_card_page
from iqattack.reporting.page import write_report

__all__ = ["write_card_page", "write_report"]
