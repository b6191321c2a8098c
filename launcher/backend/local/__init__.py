"""This machine as a backend: an interpreter with the training stack, a supervisor, a supervised child."""
