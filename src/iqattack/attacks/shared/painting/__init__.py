"""Attacks that paint a picture with brushes: what they paint on, and their stages, one a file."""
