"""Attacks that paint an image with brushes: the canvas, and one file per stage."""
