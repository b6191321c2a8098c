"""Recipe files: templates with variables, and the plain config they render to."""
