"""Where a run on a rented machine may leave its results."""

import pytest

from launcher.backend.sky.required_storage import check_storage
from runtime.config.problem import UserError


@pytest.mark.parametrize(
    ("storage", "code", "said"),
    [
        (None, "missing", "need an object store"),
        ("/here", "conflict", "/here is a folder of this computer"),
        ("hf://me/runs", "conflict", "hf://me/runs takes too few commits an hour"),
    ],
)
def test_what_would_lose_a_run_is_refused(storage: str | None, code: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        check_storage(storage)
    assert caught.value.problems[0].code == code


@pytest.mark.parametrize("storage", ["s3://bucket/runs", "gs://bucket", "az://container/runs"])
def test_an_object_store_will_do(storage: str) -> None:
    check_storage(storage)
