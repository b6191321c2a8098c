import pytest

from launcher.cli.targets import check_local, flag_overrides, gpus_to_use, is_here
from launcher.estimate.gpus import parse_gpus
from runtime.config.launch import LaunchConfig
from runtime.config.problem import UserError


def test_only_given_flags_become_overrides():
    flags = {"cloud": "local", "spot": False, "nodes": None, "max_hours": 1.5, "name": "007"}
    assert flag_overrides(flags) == ['launch.cloud="local"', "launch.spot=false", "launch.max_hours=1.5", 'launch.name="007"']


def test_this_machine_takes_a_plain_local_run():
    assert check_local(LaunchConfig(cloud="local"), {}) == []


@pytest.mark.parametrize(
    ("launch", "here"),
    [
        (LaunchConfig(cloud="local"), True),
        (LaunchConfig(backend="local"), True),
        (LaunchConfig(gpus="A100:8"), False),
        (LaunchConfig(cloud="aws", gpus="A100:8"), False),
    ],
)
def test_a_run_is_for_this_machine_or_for_a_rented_one(launch, here):
    assert is_here(launch) == here


@pytest.mark.parametrize(
    ("launch", "code"),
    [
        (LaunchConfig(), "missing"),
        (LaunchConfig(cloud="aws"), "missing"),
        (LaunchConfig(cloud="local", backend="sky"), "conflict"),
        (LaunchConfig(cloud="aws", backend="local", gpus="A100:8"), "conflict"),
    ],
)
def test_a_run_without_a_place_or_with_two_is_refused(launch, code):
    with pytest.raises(UserError) as caught:
        is_here(launch)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_what_a_recipe_says_for_elsewhere_is_a_warning_and_a_flag_an_error():
    launch = LaunchConfig(cloud="local", region="r", image="i", spot=True)
    assert sorted(problem.path for problem in check_local(launch, {})) == ["launch.image", "launch.region", "launch.spot"]
    with pytest.raises(UserError) as caught:
        check_local(launch, {"region": "r"})
    assert [problem.path for problem in caught.value.problems] == ["launch.region"]


def test_several_nodes_are_never_this_machine():
    with pytest.raises(UserError):
        check_local(LaunchConfig(cloud="local", nodes=2), {})


def test_gpus_of_this_machine_may_be_used_in_part():
    launch = LaunchConfig(cloud="local", gpus="A100-80GB:2")
    assert gpus_to_use(launch, {"gpus": "A100-80GB:2"}, here=parse_gpus("A100-80GB:8")) == (2, [])
    assert gpus_to_use(LaunchConfig(cloud="local"), {}, here=parse_gpus("A100-80GB:8")) == (None, [])


@pytest.mark.parametrize("here", [None, parse_gpus("A100-80GB:1"), parse_gpus("T4:8")])
def test_gpus_that_are_not_here_are_refused_by_flag_and_warned_of_by_recipe(here):
    launch = LaunchConfig(cloud="local", gpus=["A100-80GB:2", "H100:2"])
    with pytest.raises(UserError) as caught:
        gpus_to_use(launch, {"gpus": "A100-80GB:2"}, here=here)
    assert caught.value.exit_code == 3
    count, warnings = gpus_to_use(launch, {}, here=here)
    assert count is None
    assert [warning.code for warning in warnings] == ["no-gpu"]
