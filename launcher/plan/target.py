"""Where a run is to go, and the hardware it finds there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from launcher.estimate.gpus import GpuCount, parse_gpus
from launcher.estimate.hardware import Hardware, cards
from launcher.plan.machine import this_machine

if TYPE_CHECKING:
    from runtime.config.launch import LaunchConfig

LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`cloud` is `local` for this machine, empty for any; `usd_per_h` is what the hardware costs, None where no price is known.

    `kinds` are the GPUs that will do, the first of them the `hardware`; no `regions` means any; `spot` None means whichever is cheaper.
    """

    cloud: str
    hardware: Hardware
    usd_per_h: float | None = None
    kinds: tuple[GpuCount, ...] = ()
    regions: tuple[str, ...] = ()
    prefer: Literal["cheapest", "listed"] = "cheapest"
    spot: bool | None = None

    @property
    def is_local(self) -> bool:
        """The run stays on this machine."""
        return self.cloud == LOCAL


def target_of(launch: LaunchConfig) -> Target | None:
    """The target a recipe's launch section names: this machine, or GPUs of a kind; None when it names neither. Raises UserError for unknown GPUs."""
    if launch.cloud == LOCAL:
        return local_target(processes=launch.processes)
    kinds = tuple(parse_gpus(name) for name in launch.kinds)
    if not kinds:
        return None
    return rented_target(launch, kinds, cards(kinds[0], nodes=launch.nodes))


def rented_target(launch: LaunchConfig, kinds: tuple[GpuCount, ...], hardware: Hardware) -> Target:
    """Any of `kinds` where a recipe's launch section allows, reckoned with as `hardware`."""
    return Target(cloud=launch.cloud or "", hardware=hardware, kinds=kinds, regions=launch.regions, prefer=launch.prefer, spot=launch.spot)


def local_target(*, processes: int | None = None) -> Target:
    """This machine, which costs nothing."""
    return Target(cloud=LOCAL, hardware=this_machine(processes=processes), usd_per_h=0.0)
