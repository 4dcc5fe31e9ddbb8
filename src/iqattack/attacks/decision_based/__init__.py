"""Attacks that use only whether a candidate crosses the score boundary."""
