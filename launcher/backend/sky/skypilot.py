"""SkyPilot behind the Cloud Protocol. Its client takes seconds to import, so every function imports it when it is used."""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from launcher.backend.sky.cloud import Phase, Rented, Seen
from launcher.backend.sky.refusals import first_line, plain, refused
from runtime.config.problem import ExitCode, Problem, UserError

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

# What SkyPilot calls the buckets it makes for the local files of managed jobs; it deletes them with the job, unless that is cut short.
_JOB_BUCKET = "skypilot-filemounts-"


@dataclass(frozen=True, slots=True)
class SkyPilot:
    """The SkyPilot installed beside the launcher, and the API server it is configured for."""

    def require(self) -> None:
        """Look for SkyPilot, without the seconds that importing it takes."""
        if importlib.util.find_spec("sky") is None:
            raise _missing()

    def launch_job(
        self, task: str, *, name: str, variables: Mapping[str, str], secrets: Mapping[str, str], report: Callable[[str], None]
    ) -> int:
        """Submit a managed job."""
        sky = _sky()
        from sky import jobs

        with _speaking("submitting the managed job"):
            request = jobs.launch(_task(sky, task, variables, secrets), name=name)
            numbers, _handle = sky.stream_and_get(request, output_stream=_Lines(report))
        number = numbers[0] if isinstance(numbers, list) and numbers else numbers
        if not isinstance(number, int):
            raise UserError(
                Problem(
                    code="remote-refused",
                    message="SkyPilot took the job and gave it no number",
                    place="SkyPilot",
                    fix="`sky jobs queue` lists its jobs",
                ),
                exit_code=ExitCode.REMOTE_REFUSED,
            )
        return number

    def launch_cluster(
        self, task: str, *, name: str, variables: Mapping[str, str], secrets: Mapping[str, str], report: Callable[[str], None]
    ) -> int:
        """Start a cluster with the task on it."""
        sky = _sky()
        with _speaking("starting the machine"):
            request = sky.launch(_task(sky, task, variables, secrets), cluster_name=name)
            number, _handle = sky.stream_and_get(request, output_stream=_Lines(report))
        return int(number)

    def job(self, number: int) -> Seen:
        """A managed job; the newest of its tasks."""
        sky = _sky()
        from sky import jobs

        with _speaking("asking for the managed job"):
            found = sky.get(jobs.queue_v2(refresh=False, job_ids=[number], fields=None))
        rows = found[0] if isinstance(found, tuple) else found
        if not rows:
            return Seen(phase="gone")
        row = rows[0]
        detail = first_line(plain(str(_get(row, "failure_reason") or _get(row, "details") or "")))
        return Seen(phase=_phase(_get(row, "status")), detail=detail, recoveries=int(_get(row, "recovery_count") or 0), where=_where(row))

    def cluster_job(self, name: str, number: int | None) -> Seen:
        """A job on a cluster."""
        sky = _sky()
        with _speaking("asking for the cluster"):
            rows = sky.get(sky.status(cluster_names=[name]))
            if not rows:
                return Seen(phase="gone")
            state = _name(_get(rows[0], "status"))
            if state != "UP":
                return Seen(
                    phase="starting" if state == "INIT" else "gone",
                    detail=str(_get(rows[0], "init_status_reason") or ""),
                    where=_where(rows[0]),
                )
            if number is None:
                return Seen(phase="starting", where=_where(rows[0]))
            statuses = sky.get(sky.job_status(name, [number]))
        return Seen(phase=_phase(statuses.get(number)), where=_where(rows[0]))

    def cancel_job(self, number: int) -> None:
        """Cancel a managed job."""
        sky = _sky()
        from sky import jobs

        with _speaking("cancelling the managed job"):
            sky.get(jobs.cancel(job_ids=[number]))

    def end_cluster(self, name: str) -> None:
        """Give a cluster back."""
        sky = _sky()
        try:
            with _speaking("giving the machine back"):
                sky.get(sky.down(name))
        except UserError as error:
            if type(error.__cause__).__name__ not in ("ClusterDoesNotExist", "ValueError"):
                raise

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket of SkyPilot's."""
        sky = _sky()
        with _speaking("deleting the bucket"):
            sky.get(sky.storage_delete(name))

    def rented(self) -> Sequence[Rented]:
        """Clusters, unfinished managed jobs, and buckets left by finished ones."""
        sky = _sky()
        from sky import jobs

        found: list[Rented] = []
        with _speaking("asking what is rented"):
            for row in sky.get(sky.status()):
                found.append(
                    Rented(
                        kind="cluster",
                        name=str(_get(row, "name")),
                        number=None,
                        status=_name(_get(row, "status")),
                        where=_where(row),
                        usd_per_h=_price(row),
                        since=float(_get(row, "launched_at") or 0) or None,
                    )
                )
            with suppress(Exception):
                # Without a jobs controller there are no jobs, which SkyPilot says by an exception.
                queue = sky.get(jobs.queue_v2(refresh=False, skip_finished=True, fields=None))
                for row in queue[0] if isinstance(queue, tuple) else queue:
                    found.append(
                        Rented(
                            kind="job",
                            name=str(_get(row, "job_name")),
                            number=_get(row, "job_id"),
                            status=_name(_get(row, "status")),
                            where=_where(row),
                            usd_per_h=None,
                            since=_get(row, "submitted_at"),
                        )
                    )
            if not any(thing.kind == "job" for thing in found):
                found += [
                    Rented(kind="bucket", name=name, number=None, status=_name(_get(row, "status")), where="", usd_per_h=None)
                    for row in sky.get(sky.storage_ls())
                    if (name := str(_get(row, "name"))).startswith(_JOB_BUCKET)
                ]
        return found


def _sky() -> Any:
    """SkyPilot's client, quiet. Raises UserError (exit 8) when it is not installed."""
    try:
        import sky
    except ImportError as error:
        raise _missing() from error
    logging.getLogger("sky").setLevel(logging.ERROR)
    return sky


def _missing() -> UserError:
    return UserError(
        Problem(
            code="not-installed",
            message="rented machines are SkyPilot's doing, and SkyPilot is not installed beside the launcher",
            fix="pip install 'finetune-launcher[cloud]', in an environment without the training stack: the two want different versions of the same packages",
        ),
        exit_code=ExitCode.REMOTE_REFUSED,
    )


def _task(sky: Any, text: str, variables: Mapping[str, str], secrets: Mapping[str, str]) -> Any:
    """The task with the values of its secrets, which are in memory alone."""
    import yaml

    return sky.Task.from_yaml_config(
        yaml.safe_load(text), env_overrides=list(variables.items()), secrets_overrides=list(secrets.items()) or None
    )


class _speaking:  # noqa: N801 - used as a statement
    """Translates whatever SkyPilot raises inside the block, and keeps what it prints off stdout, which belongs to results."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._off = redirect_stdout(io.StringIO())

    def __enter__(self) -> None:
        self._off.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._off.__exit__(kind, error, trace)
        if isinstance(error, UserError) or error is None:
            return
        # SkyPilot ends the process on some refusals; all of them are answers to the user's question here.
        if isinstance(error, Exception | SystemExit):
            raise refused(error, doing=self._doing) from error


class _Lines(io.TextIOBase):
    """A stream that hands on whole lines without colours and spinners."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report, self._rest = report, ""

    def write(self, text: str) -> int:
        self._rest += text.replace("\r", "\n")
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            if words := plain(line).strip():
                self._report(words)
        return len(text)


def _phase(status: Any) -> Phase:
    return "gone" if status is None else _PHASES.get(_name(status), "running")


def _name(status: Any) -> str:
    return str(getattr(status, "value", status))


def _get(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def _where(row: Any) -> str:
    parts = [str(_get(row, name)) for name in ("cloud", "region", "zone") if _get(row, name) and str(_get(row, name)) != "-"]
    return "/".join([parts[0].lower(), *parts[1:]]) if parts else ""


def _price(row: Any) -> float | None:
    handle = _get(row, "handle")
    try:
        return float(handle.launched_resources.get_cost(3600)) * int(_get(row, "nodes") or 1)
    except Exception:  # noqa: BLE001 - a handle of another version, or a cloud without prices: the row is shown without one
        return None
