from launcher.show.follow import Narrator
from launcher.state.progress import Progress


def told(events) -> list[str]:
    narrator, progress, lines = Narrator(), Progress(), []
    for event in events:
        progress.apply(event)
        if line := narrator.line(event, progress):
            lines.append(line)
    return lines


def event(kind, step=None, **fields):
    return {"kind": kind, "step": step, "time": 0.0, **fields}


def test_a_long_run_is_told_in_about_twenty_steps_and_ends_with_its_last():
    lines = told([event("plan", steps=1003), *(event("loss", step, loss=1.0, tokens_per_s=10.0) for step in range(1, 1004))])
    assert 18 <= len(lines) <= 24
    assert lines[0] == "step 1/1003: loss 1.0000, 10 tok/s"
    assert lines[-1].startswith("step 1003/1003")


def test_the_steps_after_a_resume_are_told_again():
    first = [event("loss", step, loss=1.0) for step in range(1, 8)]
    lines = told(
        [
            event("plan", steps=100),
            *first,
            event("died", exit_status=-9, attempt=1),
            event("started", attempt=2),
            event("resumed", 5, from_step=5, reason="resuming from step 5: newest sealed checkpoint", skipped=["x"]),
            event("loss", 6, loss=0.5),
        ]
    )
    assert lines[-4:] == [
        "the training process died (SIGKILL) in attempt 1",
        "attempt 2 started",
        "resuming from step 5: newest sealed checkpoint (1 skipped)",
        "step 6/100: loss 0.5000",
    ]


def test_a_stage_is_told_once():
    lines = told(
        [event("stage", name="data", done=part, total=9) for part in range(9)]
        + [event("stage", name="model"), event("stage", name="train")]
    )
    assert lines == ["preparing data", "loading the model"]


def test_what_a_store_and_the_hub_do_not_do_is_told():
    lines = told(
        [
            event("store_keeps", message="AccessDenied"),
            event("store_deletes"),
            event("upload_failed", 40, path="out/checkpoints/step-00000040", message="a.bin is missing"),
            event("upload_failed", None, path="out/final", message="a bug"),
            event("fenced", 40, message="attempt 2 has taken this run over"),
            *(event("push_retry", 40, message="429", attempt=attempt) for attempt in range(1, 9)),
        ]
    )
    assert lines == [
        "checkpoints that are not to be kept stay in the store: AccessDenied",
        "what is not to be kept could be deleted from the store",
        "step 40 was not stored: a.bin is missing",
        "out/final was not stored: a bug",
        "attempt 2 has taken this run over",
        "the Hub does not take what is pushed and is asked again: 429",
    ]


def test_benchmarks_are_told_with_the_first_score_of_each_task():
    lines = told(
        [
            event("stage", 7, name="benchmark"),
            event("benchmark", 7, scores={"arc_easy": {"acc": 0.61234, "acc_stderr": 0.01}, "empty": {}}),
            event("benchmark_failed", 7, message="ConnectionError: no network"),
        ]
    )
    assert lines == [
        "running benchmarks",
        "benchmark: arc_easy acc 0.6123",
        "the benchmark failed, the model is sealed: ConnectionError: no network",
    ]


def test_kinds_of_later_versions_are_not_told():
    assert told([event("teleported", to="mars")]) == []


def test_what_the_fullest_step_needs_is_told():
    found = {"micro_batch": 2, "peak_gib": 12.34, "room_gib": 23.7, "seconds": 3.0, "tokens": 4096}
    assert told([event("probe", 0, **found, lowered_from=None)]) == ["the fullest step needs 12.3 GiB of 23.7 GiB"]
    assert told([event("probe", 0, **found, lowered_from=4)])[0].endswith("with the micro batch lowered to 2")
    assert told([event("probe", 0, **found, expected_gib=11.5)])[0].endswith("23.7 GiB, 11.5 GiB were expected")
    assert told([event("probe", 0)]) == []


def test_what_a_threatened_run_does_is_told():
    lines = told(
        [
            event("save_interval", 3, seconds=540.0, save_s=2.5, mtbp_h=4.0),
            event("preemption_hint", reason="Amazon recommends to move"),
            event("weights", 9, path="/out/weights", sealed=True, bytes=5),
        ]
    )
    assert lines == [
        "saving every 9 min, as a save holds training up for 2.5 s",
        "saving early: Amazon recommends to move",
        "sealed the weights of step 9; there was no time for a full checkpoint",
    ]


def test_a_store_that_fails_is_told_and_that_it_is_back():
    lines = told([event("store_failing", message="connection refused"), event("store_answers", seconds=61.4), event("upload_retry", 3)])
    assert lines == ["the store fails and is asked again: connection refused", "the store answers again, after 61 s"]
