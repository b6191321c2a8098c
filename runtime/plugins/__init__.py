"""Plugins of users: code beside a recipe that adds options to it and takes part in its training."""

from runtime.plugins.plugin import Plugin

__all__ = ["Plugin"]
