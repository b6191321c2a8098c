"""The light contract of both halves: the typed recipe, its problems and its launch section. No training stack here."""
