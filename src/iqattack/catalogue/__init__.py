"""Attacks, models, defences and constraints as text, printed without importing PyTorch."""
