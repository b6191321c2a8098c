"""What the terminal shows: problems, runs, curves, a run in progress."""
