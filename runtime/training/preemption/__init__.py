"""Hearing from a cloud that it is about to take the machine away."""
