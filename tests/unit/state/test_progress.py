from launcher.state.progress import fold


def event(kind, step=None, time=0.0, **fields):
    return {"kind": kind, "step": step, "time": time, **fields}


def test_the_newest_pass_over_a_step_counts():
    events = [event("plan", steps=20)]
    events += [event("loss", step, time=step, loss=10.0 - step) for step in range(1, 8)]
    events += [event("started", attempt=2), event("resumed", 5, from_step=5)]
    progress = fold(events)
    assert (progress.step, progress.total_steps, progress.resumed_from) == (5, 20, [5])
    progress.apply(event("loss", 6, time=100.0, loss=1.5))
    assert (progress.step, progress.loss) == (6, 1.5)


def test_the_pace_is_that_of_the_present_attempt():
    events = [event("plan", steps=20), event("loss", 1, time=0.0, loss=1.0), event("loss", 2, time=1.0, loss=1.0)]
    progress = fold(events)
    assert progress.eta_s == 18.0
    for later in (event("started", attempt=2), event("resumed", 2, from_step=2), event("loss", 3, time=1000.0, loss=1.0)):
        progress.apply(later)
    # One step tells no pace, and the thousand seconds between the attempts are none either.
    assert progress.eta_s is None
    progress.apply(event("loss", 4, time=1002.0, loss=1.0))
    assert progress.eta_s == 32.0


def test_the_end_is_what_training_reported():
    progress = fold(
        [event("loss", 5, loss=2.0), event("eval", 5, loss=1.8), event("checkpoint", 5), event("trained", 5, steps=5, final_loss=1.9)]
    )
    assert progress.final_loss == 1.9
    assert progress.as_json()["eval_loss"] == 1.8
    assert progress.checkpoint_steps == [5]


def test_a_storage_is_in_trouble_until_it_answers():
    keeps = event("store_keeps", message="AccessDenied")
    progress = fold([event("store_failing", message="no route"), keeps])
    assert progress.as_json()["storage_trouble"] == ["no route", "AccessDenied"]
    progress.apply(event("store_answers", seconds=9.0))
    assert list(progress.trouble.values()) == ["AccessDenied"]
    for last in (event("store_deletes"), event("started", attempt=2)):
        assert fold([keeps, last]).trouble == {}


def test_unknown_and_odd_events_change_nothing():
    progress = fold([event("strange"), event("loss", None, loss=1.0), event("eval", 3, loss=None)])
    assert progress.step == 0
    assert progress.loss is None
