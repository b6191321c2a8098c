"""The data of a run: rows to rendered prompts, tokens, masks, packed rows and batches."""
