"""`python -m launcher`: the same command line as `launcher`."""

from __future__ import annotations

from launcher.cli.app import main

main()
