"""What a command line asks to be planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.targets import Flag

if TYPE_CHECKING:
    from launcher.plan.pins import Pinning
    from launcher.plan.sweep import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A recipe or a plan, with all that is laid over it. `flags` are options of `launch`, None where not given; `templates` is a folder of the user's own; `member` makes it one run of a sweep;
    `pinning` looks up what the recipe names elsewhere and fixes it, None leaves it as it is."""

    file: Path
    flags: Mapping[str, Flag]
    environment: Mapping[str, str]
    sets: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    chaos: tuple[str, ...] = ()
    model_config: Path | None = None
    templates: Path | None = None
    member: Member | None = None
    pinning: Pinning | None = None
