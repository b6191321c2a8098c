"""A run as a SkyPilot task: what it needs, which files travel, and the YAML that plain `sky` runs too."""
