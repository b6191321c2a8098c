"""What a plan offers first is what SkyPilot's own optimizer takes, at its price: five clouds with catalogs placed by hand, no credentials, no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from launcher.plan.abilities import Abilities, abilities_of
from runtime.config.rules.naming import CLOUDS

pytestmark = pytest.mark.cloud

COLUMNS = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region"
# Zones of each region; the catalogs of the other clouds have no column for them.
ZONES = {"aws": ("a", "b"), "gcp": ("-a", "-b"), "runpod": ("-MTL-1",)}
MEMORY_GIB = {"A100": 40, "A100-80GB": 80, "A100-80GB-SXM": 80, "H100": 80, "H200": 141, "L4": 24, "L40S": 48, "RTX4090": 24}

# (instance, GPU, count, vCPUs, GiB, USD an hour, spot) by region. Shapes are those of the clouds; prices are made up, each of them only once.
MACHINES: dict[str, dict[str, list[tuple[str, str, int, int, int, str, str]]]] = {
    "aws": {
        "us-east-1": [
            ("p4d.24xlarge", "A100", 8, 96, 1152, "32.7726", "9.83"),
            ("p4de.24xlarge", "A100-80GB", 8, 96, 1152, "40.9657", "12.29"),
            ("p5.48xlarge", "H100", 8, 192, 2048, "55.04", "24.5"),
            ("g6.xlarge", "L4", 1, 4, 16, "0.8048", "0.24"),
            ("g6.2xlarge", "L4", 1, 8, 32, "0.9776", "0.31"),
            ("g6e.xlarge", "L40S", 1, 4, 32, "1.861", "0.9"),
        ],
        "us-west-2": [
            ("p4d.24xlarge", "A100", 8, 96, 1152, "33.1", "8.2"),
            ("p5.48xlarge", "H100", 8, 192, 2048, "56.3", "19.4"),
            ("g6.xlarge", "L4", 1, 4, 16, "0.811", "0.19"),
        ],
    },
    "lambda": {
        "us-south-1": [
            ("gpu_8x_h100_sxm5", "H100", 8, 208, 1800, "23.92", ""),
            ("gpu_8x_a100_80gb_sxm4", "A100-80GB", 8, 240, 1800, "14.32", ""),
            ("gpu_1x_h100_sxm5", "H100", 1, 26, 225, "3.29", ""),
        ],
        "europe-central-1": [("gpu_8x_h100_sxm5", "H100", 8, 208, 1800, "23.99", "")],
    },
    "runpod": {
        "CA": [
            ("8x_H100_SECURE", "H100", 8, 128, 640, "21.52", "14.0"),
            # RunPod has names of its own for the same GPU.
            ("8x_A100-80GB-SXM_SECURE", "A100-80GB-SXM", 8, 128, 640, "13.52", "12.9"),
            ("1x_L40S_SECURE", "L40S", 1, 16, 48, "0.86", "0.6"),
            ("1x_RTX4090_SECURE", "RTX4090", 1, 16, 24, "0.69", "0.34"),
            ("1x_L4_SECURE", "L4", 1, 12, 50, "0.43", "0.31"),
        ]
    },
    "nebius": {
        "eu-north1": [
            ("gpu-h100-sxm_8gpu-128vcpu-1600gb", "H100", 8, 128, 1600, "23.6", "10.0"),
            ("gpu-h200-sxm_8gpu-128vcpu-1600gb", "H200", 8, 128, 1600, "28.0", "11.6"),
            ("gpu-l40s-a_1gpu-8vcpu-32gb", "L40S", 1, 8, 32, "1.55", ""),
        ]
    },
}
# Google sells the GPU and the machine around it apart.
GOOGLE = {
    "us-central1": {
        "hosts": [
            ("a2-highgpu-1g", 12, 85, "0.7395", "0.2218"),
            ("a2-highgpu-8g", 96, 680, "5.9158", "1.7747"),
            ("g2-standard-4", 4, 16, "0.1467", "0.0448"),
        ],
        "gpus": [("A100", 1, "2.9339", "0.8801"), ("A100", 8, "23.4712", "7.0408"), ("L4", 1, "0.56", "0.168")],
    },
    "europe-west4": {
        "hosts": [("a2-highgpu-8g", 96, 680, "6.1", "1.5"), ("g2-standard-4", 4, 16, "0.16", "0.03")],
        "gpus": [("A100", 8, "24.9", "5.1"), ("L4", 1, "0.61", "0.15")],
    },
}

KINDS = (
    ["A100:8"],
    ["A100-80GB:8"],
    ["H100:8"],
    ["H100:1"],
    ["H200:8"],
    ["L4:1"],
    ["L40S:1"],
    ["RTX4090:1"],
    ["A100:8", "H100:8"],
    ["L4:1", "L40S:1", "RTX4090:1"],
)
PLACES = (
    (None, None),
    ("aws", None),
    ("gcp", None),
    ("lambda", None),
    ("runpod", None),
    ("nebius", None),
    ("aws", "us-east-1"),
    ("gcp", "europe-west4"),
)
EVERY: list[dict[str, Any]] = [
    {"gpus": gpus, "cloud": cloud, "region": region, "spot": spot} for gpus, (cloud, region), spot in product(KINDS, PLACES, (False, True))
]
# Each kind anywhere, and something of each place; LONG_TESTS=1 asks for every combination.
ANYWHERE = [wish for wish in EVERY if wish["cloud"] is None]
WISHES = EVERY if os.environ.get("LONG_TESTS") else ANYWHERE[::2] + ANYWHERE[3::4] + EVERY[2::31]
WISHES += [
    {"gpus": ["H100:8"], "spot": False, "nodes": 2},
    {"gpus": ["H100:8"], "spot": False, "nodes": 2, "cloud": "runpod"},
    {"gpus": ["L4:1"], "spot": False, "image": "docker.io/org/runtime:1"},
    {"gpus": ["H100:8"], "spot": False, "image": "docker.io/org/runtime:1", "cloud": "lambda"},
    {"gpus": ["L4:1"], "spot": False, "ports": [6006]},
]
# Of so many tokens, the cheapest hour is not the cheapest run.
LONG = [
    {"gpus": ["A100:8", "H100:8"], "spot": True, "tokens": 2_000_000_000},
    {"gpus": ["A100:8", "H100:8"], "tokens": 2_000_000_000},
    {"gpus": ["L4:1", "RTX4090:1", "L40S:1"], "spot": False, "tokens": 200_000_000},
]


def info(name: str, count: int) -> str:
    mib = MEMORY_GIB[name] * 1024
    gpu = {"Name": name, "Manufacturer": "NVIDIA", "Count": count, "MemoryInfo": {"SizeInMiB": mib}}
    return '"' + str({"Gpus": [gpu], "TotalGpuMemoryInMiB": mib * count}) + '"'


def in_zones(cloud: str, rows: list[tuple[str, str]]) -> list[str]:
    """The lines of a catalog, with a row for each zone where the cloud has zones."""
    zones = ZONES.get(cloud)
    if zones is None:
        return [COLUMNS, *(line for line, _ in rows)]
    return [f"{COLUMNS},AvailabilityZone", *(f"{line},{region}{zone}" for line, region in rows for zone in zones)]


def place_catalogs(home: Path) -> None:
    root = home / ".sky" / "catalogs" / "v8"

    def write(name: str, lines: list[str]) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    for cloud, regions in MACHINES.items():
        rows = [
            (f"{instance},{gpu},{count},{cpus},{memory},{info(gpu, count)},{usd},{spot},{region}", region)
            for region, machines in regions.items()
            for instance, gpu, count, cpus, memory, usd, spot in machines
        ]
        write(f"{cloud}/vms.csv", in_zones(cloud, rows))
    google = [
        (line, region)
        for region, sold in GOOGLE.items()
        for line in (
            *(f"{name},,,{cpus},{memory},,{usd},{spot},{region}" for name, cpus, memory, usd, spot in sold["hosts"]),
            *(f",{gpu},{count},,,{info(gpu, count)},{usd},{spot},{region}" for gpu, count, usd, spot in sold["gpus"]),
        )
    ]
    write("gcp/vms.csv", in_zones("gcp", google))
    images = "Tag,Region,OS,OSVersion,ImageId,CreationDate,BaseImageId"
    for cloud in ("aws", "gcp"):
        write(f"{cloud}/images.csv", [images])
    write("aws/instance_quota_mapping.csv", ["InstanceType,OnDemandInstanceCode,SpotInstanceCode"])
    write("gcp/accelerator_quota_mapping.csv", ["Accelerator,Region,OnDemandCode,SpotCode"])
    write("common/accelerators.csv", ["AcceleratorName,Clouds", *(f"{gpu},\"['AWS']\"" for gpu in MEMORY_GIB)])
    write("common/metadata.csv", ["GPU,MemoryGB,Manufacturer", *(f"{gpu},{size},NVIDIA" for gpu, size in MEMORY_GIB.items())])


def test_the_first_offer_is_what_skypilot_would_take(tmp_path: Path, checkout: Path) -> None:
    place_catalogs(tmp_path)
    world = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SKY_RUNTIME_DIR": str(tmp_path),
        "PYTHONPATH": str(checkout),
        # Nothing may be downloaded.
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, str(checkout / "tests" / "support" / "sky_choices.py")],
        input=json.dumps(WISHES + LONG),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env=world,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    answers = [(wish, answer["ours"], answer["sky"]) for wish, answer in zip(WISHES + LONG, said["choices"], strict=True)]
    assert [(wish, ours, sky) for wish, ours, sky in answers if ours != sky] == []
    clouds = {"aws", "gcp", "lambda", "runpod", "nebius"}
    assert set(said["enabled"]) == clouds
    assert {"local", *said["clouds"]} == CLOUDS
    assert [ours["instance"] for _, ours, _ in answers[-3:] if ours] == [*["gpu-h100-sxm_8gpu-128vcpu-1600gb"] * 2, "1x_L40S_SECURE"]
    # Each cloud is the best for something, on demand and interruptible, and some wishes cannot be met.
    assert {sky["cloud"] for wish, _, sky in answers if sky is not None and not wish.get("cloud")} == clouds
    assert {sky["spot"] for _, _, sky in answers if sky is not None} == {False, True}
    assert [wish for wish, _, sky in answers if sky is None and wish.get("nodes") == 2] == [WISHES[-4]]
    for cloud, lacks in said["unsupported"].items():
        able = Abilities(
            several_machines="MULTI_NODE" not in lacks,
            container_images="DOCKER_IMAGE" not in lacks,
            gives_back="AUTODOWN" not in lacks,
            opens_ports="OPEN_PORTS" not in lacks,
        )
        assert abilities_of(cloud) == able or cloud in ("kubernetes", "slurm", "vsphere", "ssh"), f"launcher/data/clouds.csv, {cloud}"
    assert clouds <= said["unsupported"].keys()
    # What `launcher doctor` reads of a disk.
    assert {
        "name",
        "cloud",
        "region",
        "size",
        "status",
        "launched_at",
        "is_ephemeral",
        "usedby_clusters",
        "usedby_pods",
        "usedby_fetch_failed",
    } <= set(said["volume"])
