"""What SkyPilot answers: rows of its tables, which are mappings or objects as its version wants, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.backend.sky.cloud import Phase, Rented
from launcher.backend.sky.disks import disk_usd_per_h
from launcher.backend.sky.refusals import first_line, plain

# Names of sky.jobs.ManagedJobStatus and sky.JobStatus (0.14); another one is taken for `running`, which changes nothing.
_PHASES: dict[str, Phase] = {
    "PENDING": "waiting",
    "SUBMITTED": "waiting",
    "STARTING": "starting",
    "INIT": "starting",
    "SETTING_UP": "starting",
    "RUNNING": "running",
    "WINDING_DOWN": "running",
    "RECOVERING": "recovering",
    "SUCCEEDED": "done",
    "CANCELLING": "cancelled",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    "FAILED_DRIVER": "failed",
    "FAILED_CONTROLLER": "failed",
    "FAILED_SETUP": "set-up-failed",
    "FAILED_PRECHECKS": "no-capacity",
    "FAILED_NO_RESOURCE": "no-capacity",
}

# Of a job that waits before it asks every place again (sky/jobs/utils.py).
_NO_MACHINE = "waiting for resources"


def phase_of(status: Any) -> Phase:
    """How far a job of that status is; `gone` for None."""
    return "gone" if status is None else _PHASES.get(name_of(status), "running")


def name_of(status: Any) -> str:
    """The status as SkyPilot spells it."""
    return str(getattr(status, "value", status))


def value_in(row: Any, name: str) -> Any:
    """A column of a row, None when it has none of that name."""
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def place_of(row: Any) -> str:
    """`cloud/region/zone`, as far as the row says."""
    parts = [str(value_in(row, name)) for name in ("cloud", "region", "zone") if value_in(row, name) and str(value_in(row, name)) != "-"]
    return "/".join([parts[0].lower(), *parts[1:]]) if parts else ""


def detail_of(row: Any, number: int) -> str:
    """SkyPilot's own sentence about a managed job. One that finds no machine is never given up: what each place answered is in its controller's log."""
    said = first_line(plain(str(value_in(row, "failure_reason") or value_in(row, "details") or "")))
    return f"{said}; `sky jobs logs --controller {number}` lists what each place answered" if _NO_MACHINE in said else said


def cluster_in(row: Any) -> Rented:
    """A row of the clusters' table."""
    return Rented(
        kind="cluster",
        name=str(value_in(row, "name")),
        number=None,
        status=name_of(value_in(row, "status")),
        where=place_of(row),
        usd_per_h=_price(row),
        since=float(value_in(row, "launched_at") or 0) or None,
    )


def job_in(row: Any) -> Rented:
    """A row of the managed jobs' table; what it holds is a cluster of its own, with its own price."""
    return Rented(
        kind="job",
        name=str(value_in(row, "job_name")),
        number=value_in(row, "job_id"),
        status=name_of(value_in(row, "status")),
        where=place_of(row),
        usd_per_h=None,
        since=value_in(row, "submitted_at"),
    )


def bucket_in(row: Any) -> Rented:
    """A row of the buckets' table."""
    return Rented(
        kind="bucket",
        name=str(value_in(row, "name")),
        number=None,
        status=name_of(value_in(row, "status")),
        where="",
        usd_per_h=None,
    )


def disk_in(row: Any) -> Rented:
    """A row of the volumes' table. One that SkyPilot made along with a cluster is marked as such; any other somebody made to keep."""
    users = value_in(row, "usedby_clusters") or value_in(row, "usedby_pods")
    return Rented(
        kind="disk",
        name=str(value_in(row, "name")),
        number=None,
        status="IN_USE" if users else name_of(value_in(row, "status")),
        where=place_of(row),
        usd_per_h=disk_usd_per_h(str(value_in(row, "cloud")), value_in(row, "size")),
        since=value_in(row, "launched_at"),
        # Where SkyPilot could not ask who uses it, nothing is said to be left behind.
        along=bool(value_in(row, "is_ephemeral")) and not value_in(row, "usedby_fetch_failed"),
    )


def _price(row: Any) -> float | None:
    handle = value_in(row, "handle")
    try:
        machine, nodes = handle.launched_resources, int(value_in(row, "nodes") or 1)
        if name_of(value_in(row, "status")) == "STOPPED":
            # Its disks are kept, and paid for.
            each = disk_usd_per_h(str(machine.cloud), machine.disk_size)
            return each * nodes if each is not None else None
        return float(machine.get_cost(3600)) * nodes
    except Exception:  # noqa: BLE001 - a handle of another version, or a cloud without prices: the row is shown without one
        return None
