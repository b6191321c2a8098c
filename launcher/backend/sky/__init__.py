"""Rented machines as a backend: SkyPilot finds, starts and recovers them, the run's storage tells how it goes."""
