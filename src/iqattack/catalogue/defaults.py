"""Defaults of settings, of the command line and of Python alike."""

from __future__ import annotations

ATTACK = "portfolio-search"
CONSTRAINT = "bands:2.5"  # see docs/visibility.md
OBJECTIVE = "rank"
QUERIES = 2000  # per image
SEED = 0
RETRIES = 3  # of a request after a transient error
