"""What `benchmarks/checkpoint.py` measures: our way of moving a checkpoint, and others'."""
