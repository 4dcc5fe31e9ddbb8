"""Models that run elsewhere: behind HTTP, or in a process of their own."""
