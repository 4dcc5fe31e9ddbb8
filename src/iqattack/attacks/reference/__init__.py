"""Reference attacks, for comparison: noise, transfer from another model, white-box PGD."""
