"""Query-based black-box attacks on no-reference image quality models."""

__version__ = "0.1.0"
