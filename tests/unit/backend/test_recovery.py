import pytest

from launcher.backend.local.recovery import Death, judge, was_signalled


def death(status: int, **facts) -> Death:
    return Death(**({"exit_status": status, "stop_asked": "", "preempted": False, "sealed_step": 10, "deaths_without_progress": 1} | facts))


@pytest.mark.parametrize(
    ("seen", "action", "state", "code"),
    [
        (death(0), "publish", "publishing", 0),
        (death(0, stop_asked="stopped on request"), "publish", "publishing", 0),
        (death(-9), "restart", "training", 0),
        (death(-11), "restart", "training", 0),
        (death(137), "restart", "training", 0),
        (death(6, preempted=True), "restart", "training", 0),
        (death(6), "end", "stopped", 6),
        (death(130), "end", "stopped", 6),
        (death(6, stop_asked="stopped on request", preempted=True), "end", "stopped", 6),
        (death(-9, stop_asked="stopped on request"), "end", "stopped", 6),
        (death(-15, stop_asked="stopped on request"), "end", "stopped", 6),
        (death(5), "end", "failed", 5),
        (death(2), "end", "failed", 2),
        (death(3), "end", "failed", 3),
        (death(8), "end", "failed", 8),
        (death(7, trained=True), "end", "unverified", 7),
        (death(7), "end", "failed", 7),
        (death(1), "end", "failed", 5),
        (death(5, stop_asked="stopped on request"), "end", "failed", 5),
    ],
)
def test_each_ending_has_its_verdict(seen, action, state, code):
    verdict = judge(seen, max_deaths=10)
    assert (verdict.action, verdict.state, int(verdict.exit_code)) == (action, state, code)


def test_giving_up_counts_restarts_without_progress():
    assert judge(death(-9, deaths_without_progress=3), max_deaths=3).action == "restart"
    verdict = judge(death(-9, deaths_without_progress=4), max_deaths=3)
    assert (verdict.action, verdict.state, int(verdict.exit_code)) == ("end", "failed", 5)
    assert "4 deaths" in verdict.message
    assert "checkpoint 10" in verdict.message


def test_no_restart_is_allowed_when_the_limit_is_zero():
    assert judge(death(-9), max_deaths=0).action == "end"


def test_pauses_grow_and_are_bounded():
    pauses = [judge(death(-9, deaths_without_progress=count), max_deaths=100).pause_s for count in range(1, 12)]
    assert pauses[:4] == [0.0, 1.0, 2.0, 4.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 8.0


def test_a_stop_says_where_a_resume_begins():
    assert "step 10" in judge(death(6, stop_asked="stopped on request"), max_deaths=1).message
    assert "at the start" in judge(death(6, stop_asked="stopped on request", sealed_step=-1), max_deaths=1).message


def test_exit_codes_of_programs_are_no_signals():
    assert [status for status in (0, 1, 2, 5, 6, 7, 8, 130) if was_signalled(status)] == []
