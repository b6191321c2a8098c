"""The making of the managed environment, with a stand-in for Python and pip that notes what it is asked."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.backend.local.managed import make_environment, managed_environment
from runtime.config.problem import UserError

# `python -m venv DIR` puts the same script into DIR/bin/python, which then plays pip.
FAKE = """#!/bin/sh
echo "$@" >> {calls}
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && exit 0; fi
case "$*" in {refuse}) echo "ERROR: no matching distribution"; exit 1;; esac
echo "  Downloading {wheel} (1.2 MB)"
"""


@pytest.fixture
def world(tmp_path):
    class World:
        calls = tmp_path / "calls"
        requirements = tmp_path / "requirements-train.txt"

        def __init__(self) -> None:
            self.said: list[str] = []

        def python(self, refuse: str = "nothing") -> str:
            # In place of a name another thread may be running: never the half of a script.
            path, fresh = tmp_path / "python", tmp_path / f"python-{threading.get_ident()}"
            fresh.write_text(FAKE.format(calls=self.calls, refuse=refuse, wheel="https://x/torch.whl"))
            fresh.chmod(0o755)
            fresh.replace(path)
            return str(path)

        def environment(self, *, with_gpu: bool = False):
            return managed_environment(tmp_path / "data", self.requirements, with_gpu=with_gpu)

        def make(self, refuse: str = "nothing", *, with_gpu: bool = False) -> Path:
            return make_environment(self.environment(with_gpu=with_gpu), report=self.said.append, python=self.python(refuse))

        def pip_calls(self) -> list[str]:
            return [line for line in self.calls.read_text().splitlines() if "pip install" in line]

    world = World()
    world.requirements.write_text("transformers\n")
    return world


def test_torch_comes_first_and_is_held_by_a_constraint(world):
    python = world.make()
    first, second = world.pip_calls()
    assert first.endswith("torch==2.13.0+cpu")
    assert f"--requirement {world.requirements}" in second
    constraint = Path(second.split("--constraint ")[1].split()[0])
    assert constraint.read_text() == "torch==2.13.0\n"
    assert world.environment().ready == python
    assert any("torch.whl (1.2 MB)" in line for line in world.said)


def test_the_cpu_build_falls_back_to_its_own_index_and_then_to_the_plain_build(world):
    world.make("*+cpu*")
    assert [call.split("--progress-bar off ")[1] for call in world.pip_calls()][:3] == [
        "torch==2.13.0+cpu",
        "torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu",
        "torch==2.13.0",
    ]
    assert any("3 GB" in line for line in world.said)


def test_with_a_gpu_the_plain_build_is_taken(world):
    world.make(with_gpu=True)
    assert world.pip_calls()[0].endswith("torch==2.13.0")


def test_a_failure_shows_the_log_and_leaves_nothing_that_looks_complete(world):
    with pytest.raises(UserError, match="training stack") as caught:
        world.make("*--requirement*")
    assert "no matching distribution" in caught.value.problems[0].fix
    assert not world.environment().ready.exists()
    # The next attempt starts anew and succeeds.
    assert world.make().exists()


def test_a_finished_environment_is_not_made_again(world):
    world.make()
    before = world.calls.read_text()
    world.make()
    assert world.calls.read_text() == before


def test_two_makers_make_one(world):
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: world.make(), range(2)))
    assert made[0] == made[1] == world.environment().ready
    assert len(world.pip_calls()) == 2


def test_other_requirements_are_another_environment(world):
    before = world.environment().path
    world.requirements.write_text("transformers\npeft\n")
    assert world.environment().path != before
    assert world.environment(with_gpu=True).path != world.environment().path
