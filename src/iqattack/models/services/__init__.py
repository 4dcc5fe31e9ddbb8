"""Models that work elsewhere: behind HTTP, or in a process of their own."""
