"""Sealed checkpoints: folders of files that are complete and named by a manifest, or are not checkpoints at all."""
