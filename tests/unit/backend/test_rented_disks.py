"""Disks that cost money while no machine uses them: found in SkyPilot's tables, priced, and told apart from what somebody keeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from launcher.backend.sky.answers import cluster_in, disk_in
from launcher.backend.sky.cloud import Rented
from launcher.backend.sky.disks import disk_usd_per_h
from launcher.backend.sky.examination import described, end_all, examine_rented
from runtime.record import RunRecord


def volume(name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "cloud": "RunPod", "region": "CA", "zone": None, "size": "730", "status": "READY", "usedby_clusters": []} | given


def cluster(status: str) -> dict[str, Any]:
    machine = SimpleNamespace(cloud="AWS", disk_size=365, get_cost=lambda seconds: 32.0 * seconds / 3600)
    return {"name": "over", "status": status, "nodes": 2, "cloud": "AWS", "handle": SimpleNamespace(launched_resources=machine)}


def test_a_disk_costs_by_size_and_month() -> None:
    assert disk_usd_per_h("AWS", "100Gi") == disk_usd_per_h("aws", 100) == pytest.approx(0.08 * 100 / 730)
    assert [disk_usd_per_h("aws", "x"), disk_usd_per_h("aws", None), disk_usd_per_h("nowhere", 100)] == [None, None, None]


def test_a_stopped_cluster_costs_its_disks_alone() -> None:
    assert cluster_in(cluster("UP")).usd_per_h == 64.0
    assert cluster_in(cluster("STOPPED")).usd_per_h == pytest.approx(2 * 365 * 0.08 / 730)


def test_a_disk_left_behind_is_needless_and_one_made_to_keep_is_shown() -> None:
    rows = [
        volume("left", is_ephemeral=True),
        volume("kept"),
        volume("unsure", is_ephemeral=True, usedby_fetch_failed=True),
        volume("busy", usedby_clusters=["r"], is_ephemeral=True),
        volume("pod", usedby_pods=["p"]),
    ]
    found = examine_rented([disk_in(row) for row in rows], {})
    assert [thing.name for thing in found.needless] == ["left"]
    assert [thing.name for thing in found.foreign] == ["kept", "unsure"]
    assert found.needed == ()
    assert described(found.foreign[0]) == "the disk kept in runpod/CA is ready, $0.0700 an hour"
    assert found.usd_per_h == pytest.approx(0.07)


def test_what_may_be_needed_is_not_called_needless() -> None:
    things = [
        Rented(kind="cluster", name="one", number=None, status="UP", where="", usd_per_h=2.0),
        Rented(kind="cluster", name="two-7", number=None, status="UP", where="", usd_per_h=3.0),
        Rented(kind="job", name="three", number=9, status="RUNNING", where="", usd_per_h=None),
    ]
    runs = {
        name: RunRecord(run=name, recipe="r", output_dir="o", created=0.0, state="stopped", backend="sky")
        for name in ("one", "two", "three")
    }
    assert [thing.name for thing in examine_rented(things, runs).needless] == ["one", "two-7", "three"]
    found = examine_rented(things, runs, unsure={"two", "three"})
    assert ([thing.name for thing in found.needless], [thing.name for thing in found.needed]) == (["one"], ["two-7", "three"])
    assert [thing.name for thing in examine_rented(things, runs).of_run("two").needless] == ["two-7"]


def test_ending_deletes_the_disk_and_nothing_else() -> None:
    asked: list[str] = []
    cloud: Any = SimpleNamespace(delete_disk=asked.append)
    end_all(cloud, [disk_in(volume("left", is_ephemeral=True))])
    assert asked == ["left"]
