"""Optimizers that transformers' Trainer does not build itself, and the packages optimizers come from."""
