"""Prices come from SkyPilot's own catalog code, here with catalogs placed by hand and no network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cloud

HEAD = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone"


def info(name: str, count: int, mib: int) -> str:
    gpu = {"Name": name, "Manufacturer": "NVIDIA", "Count": count, "MemoryInfo": {"SizeInMiB": mib}}
    return '"' + str({"Gpus": [gpu], "TotalGpuMemoryInMiB": mib * count}) + '"'


ROWS = [
    ("p4de.24xlarge", "A100-80GB", 8, 96, 1152, info("A100-80GB", 8, 81920), "40.9657", "16.9", "us-west-2", "us-west-2a"),
    ("p4de.24xlarge", "A100-80GB", 8, 96, 1152, info("A100-80GB", 8, 81920), "40.9657", "15.1", "us-west-2", "us-west-2b"),
    ("p4de.24xlarge", "A100-80GB", 8, 96, 1152, info("A100-80GB", 8, 81920), "40.9657", "99.0", "us-east-1", "us-east-1a"),
    ("g6.xlarge", "L4", 1, 4, 16, info("L4", 1, 22888), "0.8048", "0.33", "us-west-2", "us-west-2a"),
    ("g6.free", "L4", 1, 4, 16, info("L4", 1, 22888), "0.0", "", "us-west-2", "us-west-2a"),
    ("g6.unsold", "L4", 1, 4, 16, info("L4", 1, 22888), "9999", "9999", "us-west-2", "us-west-2a"),
    ("g6.nowhere", "L4", 1, 4, 16, info("L4", 1, 22888), "", "", "us-west-2", "us-west-2a"),
    ("g6f.slice", "L4", 0.25, 4, 16, info("L4", 1, 22888), "0.2", "0.1", "us-west-2", "us-west-2a"),
    ("p4d.slip", "A100", 8, 96, 1152, info("A100", 8, 40960), "0.0001", "", "us-west-2", "us-west-2a"),
]


@pytest.fixture
def world(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / ".sky" / "catalogs" / "v8" / "aws"
    folder.mkdir(parents=True)
    (folder / "vms.csv").write_text("\n".join([HEAD, *(",".join(map(str, row)) for row in ROWS)]) + "\n", encoding="utf-8")
    broken = folder.parent / "lambda"
    broken.mkdir()
    (broken / "vms.csv").write_bytes(b'garbage\x00\xff,,,\n"unclosed')
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SKY_RUNTIME_DIR": str(tmp_path),
        "LAUNCHER_PRICES": str(tmp_path / "prices.json"),
        # Nothing may be downloaded: clouds without a catalog here are left out.
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }


def test_offers_are_read_from_the_catalog_and_kept(world: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "offers", "--refresh", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env=world,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert data["clouds"] == ["aws"]
    prices = {(row["instance"], row["region"]): (row["usd_per_h"], row["spot_usd_per_h"]) for row in data["offers"]}
    # The cheaper zone of a region counts; a spot price above the on-demand one, and a free GPU, are dropped.
    assert prices == {
        ("p4de.24xlarge", "us-west-2"): (40.9657, 15.1),
        ("p4de.24xlarge", "us-east-1"): (40.9657, None),
        ("g6.xlarge", "us-west-2"): (0.8048, 0.33),
    }
    assert data["dropped"] == 4
    # One catalog is broken, the others cannot be downloaded: both are named, and neither hides the prices there are.
    assert "lambda (" in "".join(data["left_out"])
    assert "azure (" in "".join(data["left_out"])
    again = subprocess.run(
        [sys.executable, "-m", "launcher", "offers", "--gpus", "L4:1", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=world,
        check=False,
    )
    assert [row["usd_per_h"] for row in json.loads(again.stdout)["data"]["offers"]] == [0.8048]
