"""Which cloud to listen to: the one whose metadata service answers, or the one that is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from runtime.config.problem import Problem, UserError
from runtime.training.preemption.aws import AwsSpot
from runtime.training.preemption.azure import AzureSpot
from runtime.training.preemption.gcp import GcpSpot
from runtime.training.preemption.metadata import LINK_LOCAL, BusyError, MetadataService
from runtime.training.preemption.source import CannotHearError, Source

VARIABLE = "LAUNCHER_PREEMPTION"
ENDPOINT = "LAUNCHER_METADATA_ENDPOINT"

SOURCES: dict[str, Callable[[MetadataService], Source]] = {"aws": AwsSpot, "gcp": GcpSpot, "azure": AzureSpot}

# Off a cloud the address is refused or unreachable at once, or nobody answers. A service that is busy at boot gets a second, longer chance.
PATIENCE_S = (0.3, 2.0, 2.0)
# How long one that says that it is busy is left alone, seconds.
BUSY_S = 2.0


def wished(environment: Mapping[str, str]) -> tuple[str, MetadataService]:
    """`auto`, `none` or the name of a source, and where its service is. Raises UserError for anything else."""
    name = (environment.get(VARIABLE) or "auto").strip().lower()
    if name not in ("auto", "none", *SOURCES):
        raise UserError(
            Problem(
                code="unknown-name",
                place=VARIABLE,
                message=f"{name!r} is no cloud whose notices are understood",
                fix=f"set it to auto, none, {', '.join(SOURCES)}, or unset it",
            )
        )
    try:
        return name, MetadataService(environment.get(ENDPOINT) or LINK_LOCAL)
    except ValueError as error:
        raise UserError(Problem(code="wrong-type", place=ENDPOINT, message=str(error), fix="write http://HOST:PORT")) from error


def find_source(
    name: str, service: MetadataService, *, say: Callable[[str], None], pause: Callable[[float], object] = time.sleep
) -> Source | None:
    """The source called `name`; for `auto` the one whose machine this is, None when it is none. `say` is told what keeps a source from being heard."""
    if name != "auto":
        return SOURCES[name](service)
    for timeout_s in PATIENCE_S:
        silent = busy = False
        for make in SOURCES.values():
            source = make(service)
            try:
                if source.is_here(timeout_s):
                    return source
            except TimeoutError:
                silent = True
            except CannotHearError as error:
                say(str(error))
                return None
            except BusyError:
                busy = True
            except OSError:
                pass
        if busy:
            pause(BUSY_S)
        elif not silent:
            return None
    return None
