"""The image half: data, training, sealed checkpoints and publishing of one run."""
