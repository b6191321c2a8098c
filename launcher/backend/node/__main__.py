"""`python -m launcher.backend.node {prepare,run,health}`: what the task's scripts, and an image, start on a rented machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from launcher.backend.node.place import HOME
from runtime.config.problem import UserError


def main(arguments: list[str]) -> int:
    """The exit status of `prepare`, which makes the training environment, of `run`, or of `health`, 0 while the run here is attended."""
    home = Path(os.environ.get("LAUNCHER_HOME") or HOME).expanduser()
    try:
        if arguments == ["prepare"]:
            from launcher.backend.node.preparing import prepare

            return prepare(home, os.environ)
        if arguments == ["run"]:
            from launcher.backend.node.serving import serve

            return serve(home, os.environ)
        if arguments == ["health"]:
            from launcher.backend.node.health import health

            return health(home, os.environ)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stderr.write("usage: python -m launcher.backend.node {prepare,run,health}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
