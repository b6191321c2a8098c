"""Measured memory of public training runs, and the estimates scored on it."""
