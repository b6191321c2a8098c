"""The model of a run: its tokenizer, weights, precision, quantization and adapter."""
