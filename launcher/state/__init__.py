"""What the launcher remembers about runs, under the user's state directory."""
