"""The laptop half: from a recipe to a priced plan to a supervised run."""

__version__ = "0.1.0"
