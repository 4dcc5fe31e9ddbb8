"""What makes the documentation site of the files in docs/, README.md and the code."""
