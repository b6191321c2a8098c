import os
import stat
from pathlib import Path

import pytest

from launcher.plan.machine import this_machine


def answer(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_machine_without_gpus_is_its_memory_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.plan.machine.shutil.which", lambda name: None)
    machine = this_machine(processes=2)
    assert machine.gpus is None
    assert machine.cores >= 1
    assert machine.processes == 2
    assert machine.available_gib is not None
    assert 0 < machine.available_gib <= machine.capacity_gib


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("NVIDIA A100-SXM4-80GB, 81920, 8.0", "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB, 40960, 8.0", "A100"),
        ("NVIDIA H100 80GB HBM3, 81559, 9.0", "H100"),
        ("NVIDIA GeForce RTX 4090, 24564, 8.9", "RTX4090"),
        ("Tesla T4, 15360, 7.5", "T4"),
        ("NVIDIA L4, 23034, 8.9", "L4"),
    ],
)
def test_cards_are_recognised_by_what_nvidia_smi_calls_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, name: str) -> None:
    answer(tmp_path, monkeypatch, f"{line}\n{line}")
    machine = this_machine()
    assert machine.gpus is not None
    assert (machine.gpus.gpu.name, machine.gpus.count) == (name, 2)


def test_a_card_the_table_lacks_is_taken_at_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(tmp_path, monkeypatch, "NVIDIA Novel 9000, 49152, 12.1")
    machine = this_machine()
    assert machine.gpus is not None
    assert machine.gpus.gpu.name == "NVIDIA Novel 9000"
    assert 46 < machine.capacity_gib < 48


def test_a_driver_that_fails_counts_as_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'no devices were found'\nexit 9\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert this_machine().gpus is None
