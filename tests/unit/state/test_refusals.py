import errno
from pathlib import Path

import pytest

from launcher.state.refusals import refusal


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, "no-permission"),
        (errno.EROFS, "no-permission"),
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.ENOENT, "missing-file"),
        (errno.ENOTDIR, "not-a-folder"),
        (errno.EISDIR, "not-a-file"),
        (errno.EIO, "os-error"),
    ],
)
def test_every_refusal_names_the_place_and_a_way_out(number, code):
    problem = refusal(OSError(number, "said by the system"), Path("/place"))
    assert (problem.code, problem.place) == (code, "/place")
    assert problem.fix
