"""Building blocks shared by several attacks."""
