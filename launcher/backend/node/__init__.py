"""A rented machine's own part in a run: the same supervisor as on a laptop, and beside it what looks after the money and tells the storage."""
