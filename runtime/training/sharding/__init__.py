"""A training state that is spread over the processes of a run (FSDP2): how, and how it is written and read."""
