from launcher.show.problems import render_problems
from runtime.config.problem import Problem


def test_a_problem_says_where_what_and_what_to_do():
    problem = Problem(code="unknown-key", message="unknown key 'lora_alhpa'", fix="did you mean 'lora_alpha'?", file="recipe.yml", line=14)
    assert render_problems([problem]) == "recipe.yml:14: unknown key 'lora_alhpa'\n  did you mean 'lora_alpha'?"


def test_a_suggestion_stands_in_for_a_missing_fix():
    assert (
        render_problems([Problem(code="unknown-key", message="unknown key 'a'", suggestion="b")]) == "unknown key 'a'\n  did you mean 'b'?"
    )


def test_several_are_in_file_order_and_counted():
    problems = [
        Problem(code="a", message="third", file="b.yml", line=1),
        Problem(code="a", message="second", file="a.yml", line=20),
        Problem(code="a", message="first", file="a.yml", line=3),
    ]
    assert render_problems(problems, kind="warning").splitlines() == [
        "b.yml:1: warning: third",
        "a.yml:3: warning: first",
        "a.yml:20: warning: second",
        "3 warnings",
    ]


def test_a_fix_of_several_lines_is_indented_whole():
    assert render_problems([Problem(code="a", message="m", fix="one\ntwo", place="here")]) == "here: m\n  one\n  two"
