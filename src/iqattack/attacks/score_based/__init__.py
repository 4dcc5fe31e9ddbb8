"""Attacks that search with the scores of their candidates."""
