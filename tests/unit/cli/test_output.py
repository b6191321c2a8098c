import json
import math

from launcher.cli.output import emit_json, envelope
from runtime.config.problem import Problem

PROBLEM = Problem(code="wrong-type", message="m", fix="f", path="a.b", file="r.yml", line=3)


def test_the_envelope_of_a_success():
    assert envelope("ps", {"a": 1}) == {"schema": "launcher.ps/1", "ok": True, "data": {"a": 1}, "warnings": [], "error": None}


def test_the_envelope_of_problems():
    made = envelope("up", None, warnings=[PROBLEM], problems=[PROBLEM, PROBLEM])
    assert made["ok"] is False
    assert made["warnings"] == [{"code": "wrong-type", "where": "r.yml:3", "message": "m", "fix": "f", "path": "a.b", "line": 3}]
    assert (made["error"]["code"], made["error"]["where"], len(made["error"]["problems"])) == ("wrong-type", "r.yml:3", 2)


def test_numbers_json_has_no_name_for_become_null(capsys):
    emit_json("up", {"loss": math.nan, "values": (1.0, math.inf)})
    assert json.loads(capsys.readouterr().out)["data"] == {"loss": None, "values": [1.0, None]}
