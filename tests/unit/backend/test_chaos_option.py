import pytest

from launcher.backend.chaos import check_chaos
from runtime.config.problem import UserError


def test_items_may_be_repeated_or_joined_by_commas():
    assert check_chaos(["kill@3,preempt@5", "preempt@9:2.5"]) == ("kill@3", "preempt@5", "preempt@9:2.5")


@pytest.mark.parametrize("text", ["kill", "kill@", "kill@x", "kill@3:5", "preempt@3:", "die@3", "kill@-1"])
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(UserError, match="not a planned death"):
        check_chaos([text])
