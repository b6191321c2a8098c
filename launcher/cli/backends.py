"""The backend the commands talk to, built from this process's environment."""

from __future__ import annotations

import os

from launcher.backend.local.machine import LocalBackend
from launcher.cli.output import note
from launcher.state.runs import find_run, state_root


def local_backend(*, quiet: bool = False) -> LocalBackend:
    """This machine; its progress reports go to stderr unless `quiet`."""
    from platformdirs import user_data_path

    return LocalBackend(
        state_root=state_root(),
        data_root=user_data_path("finetune-launcher", appauthor=False),
        environment=dict(os.environ),
        report=(lambda _: None) if quiet else note,
    )


def full_name(backend: LocalBackend, name: str) -> str:
    """The id of the run that `name` begins. Raises UserError when there is none or more than one."""
    return find_run(backend.state_root, name).run
