"""After training: merging, verifying, describing, evaluating and talking to a model."""
