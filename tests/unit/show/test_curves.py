import math

from launcher.show.curves import curves_of, draw, save_overlay, save_png, sparkline


def losses(steps, scale=1.0):
    return [
        {"kind": "loss", "time": step, "step": step, "loss": scale / step, "learning_rate": 1e-4, "tokens_per_s": 900, "memory_gib": 1.5}
        for step in steps
    ]


def test_steps_repeated_after_a_resume_count_once():
    curves = curves_of([*losses(range(1, 9)), *losses(range(6, 11), scale=2.0)])
    loss = curves[0]
    assert loss.steps == tuple(range(1, 11))
    assert loss.values[5] == 2.0 / 6
    assert [curve.name for curve in curves] == ["loss", "learning_rate", "tokens_per_s", "memory_gib"]


def test_numbers_that_cannot_be_drawn_are_left_out():
    events = [
        *losses([1, 2]),
        {"kind": "loss", "time": 3, "step": 3, "loss": math.nan},
        {"kind": "loss", "time": 4, "step": 4, "loss": math.inf},
        {"kind": "loss", "time": 5, "step": 5, "loss": None},
    ]
    assert curves_of(events)[0].steps == (1, 2)


def test_nothing_trained_is_nothing_to_draw():
    assert curves_of([{"kind": "started", "time": 1, "step": None}]) == []


def test_the_drawing_fits_its_width_and_names_each_curve():
    text = draw(curves_of([*losses(range(1, 50)), {"kind": "eval", "time": 1, "step": 25, "loss": 0.5}]), width=60, height=8)
    assert max(len(line) for line in text.splitlines()) <= 60
    for title in ("loss (x: evaluation)", "learning rate", "tokens per second", "memory (GiB)"):
        assert title in text
    assert "\x1b" not in text


def test_one_step_is_enough_for_a_drawing():
    assert "loss" in draw(curves_of(losses([1])), width=50, height=8)


def test_the_picture_is_a_png(tmp_path):
    path = tmp_path / "curves"
    save_png(curves_of([*losses(range(1, 20)), {"kind": "eval", "time": 1, "step": 9, "loss": 0.5}]), path, title="calm-otter")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_several_runs_share_one_picture(tmp_path):
    losses_of = [next(curve for curve in curves_of(losses(range(1, 20), scale)) if curve.name == "loss") for scale in (1.0, 2.0)]
    save_overlay(losses_of, tmp_path / "two", title="sweep")
    save_overlay(losses_of[:1], tmp_path / "one", title="sweep")
    one, two = (tmp_path / "one").read_bytes(), (tmp_path / "two").read_bytes()
    assert two.startswith(b"\x89PNG")
    assert one != two


def test_a_sparkline_falls_with_its_values():
    assert sparkline([3.0, 2.0, 1.0], width=10) == "█▅▁"
    assert len(sparkline([float(value) for value in range(500)], width=40)) == 40
    assert sparkline([], width=10) == ""
    assert sparkline([1.0, 1.0], width=10) == "▁▁"
