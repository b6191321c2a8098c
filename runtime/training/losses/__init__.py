"""The loss of a run: what each token costs, and whether the logits of all tokens ever exist."""
