"""Where the machines of a run are, as the environment says."""

from __future__ import annotations

from runtime.training.nodes import COUNT, HEAD, RANK, Nodes


def test_one_machine_meets_itself() -> None:
    assert Nodes.of({}) == Nodes.of({COUNT: "1", RANK: "0", HEAD: "10.0.0.1"}) == Nodes()
    assert Nodes().meeting == ["--standalone"]


def test_several_meet_at_the_head() -> None:
    nodes = Nodes.of({COUNT: "2", RANK: "1", HEAD: "10.0.0.1"})
    assert nodes.meeting == ["--nnodes", "2", "--node-rank", "1", "--master-addr", "10.0.0.1", "--master-port", "29411"]
    assert Nodes.of({COUNT: "2", HEAD: "10.0.0.1:5000"}).meeting[-3:] == ["10.0.0.1", "--master-port", "5000"]
    assert Nodes.of({COUNT: "2", HEAD: "fd00::1"}).meeting[-3:] == ["fd00::1", "--master-port", "29411"]
