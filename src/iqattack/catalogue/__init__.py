"""What there is, as text: printed without importing PyTorch, an attack or a model."""
