"""Remote models: behind HTTP, or in their own process."""
