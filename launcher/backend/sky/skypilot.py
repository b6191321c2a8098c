"""SkyPilot behind the Cloud Protocol. Its client takes seconds to import, so every function imports it when it is used."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from launcher.backend.sky.answers import bucket_in, cluster_in, detail_of, disk_in, job_in, name_of, phase_of, place_of, value_in
from launcher.backend.sky.client import Lines, client, missing, speaking
from launcher.backend.sky.cloud import Rented, Seen
from runtime.config.problem import ExitCode, Problem, UserError

# What SkyPilot calls the buckets it makes for the local files of managed jobs; it deletes them with the job, unless that is cut short.
_JOB_BUCKET = "skypilot-filemounts-"
_LAST_LINES = 200


@dataclass(frozen=True, slots=True)
class SkyPilot:
    """The SkyPilot installed beside the launcher, and the API server it is configured for."""

    def require(self) -> None:
        """Look for SkyPilot, without the seconds that importing it takes."""
        if importlib.util.find_spec("sky") is None:
            raise missing()

    def launch_job(
        self,
        task: str,
        *,
        name: str,
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
        hidden: Collection[str],
        report: Callable[[str], None],
    ) -> int:
        """Submit a managed job."""
        sky = client()
        from sky import jobs

        with speaking("submitting the managed job", hidden=hidden):
            request = jobs.launch(sky_task(sky, task, variables, secrets), name=name)
            numbers, _handle = sky.stream_and_get(request, output_stream=Lines(report))
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
        self,
        task: str,
        *,
        name: str,
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
        hidden: Collection[str],
        report: Callable[[str], None],
    ) -> int:
        """Start a cluster with the task on it."""
        sky = client()
        with speaking("starting the machine", hidden=hidden):
            request = sky.launch(sky_task(sky, task, variables, secrets), cluster_name=name)
            number, _handle = sky.stream_and_get(request, output_stream=Lines(report))
        return int(number)

    def job(self, number: int) -> Seen:
        """A managed job; the newest of its tasks."""
        rows = _jobs("asking for the managed job", job_ids=[number])
        if not rows:
            return Seen(phase="gone")
        row = rows[0]
        return Seen(
            phase=phase_of(value_in(row, "status")),
            detail=detail_of(row, number),
            recoveries=int(value_in(row, "recovery_count") or 0),
            where=place_of(row),
        )

    def find_job(self, name: str) -> int | None:
        """The newest unfinished managed job of that name."""
        rows = _jobs("looking for the managed job", skip_finished=True)
        return max((int(value_in(row, "job_id")) for row in rows if value_in(row, "job_name") == name), default=None)

    def cluster_job(self, name: str, number: int | None) -> Seen:
        """A job on a cluster."""
        sky = client()
        with speaking("asking for the cluster"):
            # Its cloud is asked as well: a machine that ended by itself, or was taken away, is UP in SkyPilot's own books.
            rows = sky.get(sky.status(cluster_names=[name], refresh=sky.StatusRefreshMode.AUTO))
            if not rows:
                return Seen(phase="gone")
            state = name_of(value_in(rows[0], "status"))
            if state != "UP":
                return Seen(
                    phase="starting" if state == "INIT" else "gone",
                    detail=str(value_in(rows[0], "init_status_reason") or ""),
                    where=place_of(rows[0]),
                )
            statuses = sky.get(sky.job_status(name, [number] if number is not None else None))
        status = statuses.get(number) if number is not None else next(iter(statuses.values()), None)
        if number is None and status is None:
            return Seen(phase="starting", where=place_of(rows[0]))
        return Seen(phase=phase_of(status), where=place_of(rows[0]))

    def printed(self, name: str, number: int | None, *, managed: bool) -> str:
        """The last lines of a job's log."""
        sky = client()
        from sky import jobs

        lines: list[str] = []
        with speaking("asking for the log"):
            if managed:
                jobs.tail_logs(job_id=number, follow=False, tail=_LAST_LINES, output_stream=Lines(lines.append))
            else:
                sky.tail_logs(name, number, follow=False, tail=_LAST_LINES, output_stream=Lines(lines.append))
        return "".join(f"{line}\n" for line in lines)

    def cancel_job(self, number: int) -> None:
        """Cancel a managed job."""
        sky = client()
        from sky import jobs

        with speaking("cancelling the managed job"):
            sky.get(jobs.cancel(job_ids=[number]))

    def end_cluster(self, name: str) -> None:
        """Give a cluster back."""
        sky = client()
        try:
            with speaking("giving the machine back"):
                sky.get(sky.down(name))
        except UserError as error:
            if type(error.__cause__).__name__ not in ("ClusterDoesNotExist", "ValueError"):
                raise

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket of SkyPilot's."""
        sky = client()
        with speaking("deleting the bucket"):
            sky.get(sky.storage_delete(name))

    def delete_disk(self, name: str) -> None:
        """Delete a volume of SkyPilot's."""
        sky = client()
        from sky import volumes

        with speaking("deleting the disk"):
            sky.get(volumes.delete([name]))

    def rented(self) -> Sequence[Rented]:
        """Clusters, unfinished managed jobs, disks, and buckets left by finished jobs."""
        sky = client()
        with speaking("asking what is rented"):
            found = [cluster_in(row) for row in sky.get(sky.status(refresh=sky.StatusRefreshMode.AUTO))]
            with suppress(UserError):
                # Without a jobs controller there are no jobs, which SkyPilot says by an exception.
                found += [job_in(row) for row in _jobs("asking for managed jobs", skip_finished=True)]
            with suppress(UserError):
                # An API server older than its client may know no volumes.
                found += _disks()
            if not any(thing.kind == "job" for thing in found):
                found += [thing for row in sky.get(sky.storage_ls()) if (thing := bucket_in(row)).name.startswith(_JOB_BUCKET)]
        return found


def sky_task(sky: Any, text: str, variables: Mapping[str, str], secrets: Mapping[str, str]) -> Any:
    """The task with the values of its secrets, which are in memory alone."""
    return sky.Task.from_yaml_config(
        yaml.safe_load(text), env_overrides=list(variables.items()), secrets_overrides=list(secrets.items()) or None
    )


def _disks() -> list[Rented]:
    sky = client()
    from sky import volumes

    with speaking("asking for disks"):
        return [disk_in(row) for row in sky.get(volumes.ls())]


def _jobs(doing: str, **which: Any) -> list[Any]:
    sky = client()
    from sky import jobs

    with speaking(doing):
        found = sky.get(jobs.queue_v2(refresh=False, fields=None, **which))
    return list(found[0] if isinstance(found, tuple) else found)
