"""Attacks on a whole set: its ranking, and perturbations for any image."""
