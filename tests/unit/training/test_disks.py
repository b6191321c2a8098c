"""Which processes share a disk, as told by what each of them sees of the others' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from meeting import Meeting

from runtime.config.problem import UserError
from runtime.training.disks import Disk, find_disk, shared_by
from runtime.training.folder import RunFolder
from runtime.training.processes import Rank


def found(folders: list[Path], locals_: list[int]) -> list[Any]:
    return Meeting(len(folders)).run(lambda rank: find_disk(rank, RunFolder(path=folders[rank.index]), sleep=lambda _s: None), locals_)


def test_one_process_has_one_disk_and_leaves_nothing_on_it(tmp_path: Path) -> None:
    assert find_disk(Rank(), RunFolder(path=tmp_path / "out")) == Disk()
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_is_one_disk(tmp_path: Path) -> None:
    disks = found([tmp_path / "out"] * 4, [0, 1, 0, 1])
    assert disks == [Disk()] * 4
    assert not disks[0].apart
    assert list((tmp_path / "out").iterdir()) == []


def test_folders_of_their_own_are_disks_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "a", tmp_path / "b", tmp_path / "b"]
    disks = found(folders, [0, 1, 0, 1])
    assert disks == [Disk(index=0, count=2, first=0)] * 2 + [Disk(index=1, count=2, first=2)] * 2
    assert [disks[index].is_served_by(Rank(index=index, local=index % 2, world_size=4)) for index in range(4)] == [True, False, True, False]
    assert [list(folder.iterdir()) for folder in folders] == [[]] * 4


def test_machines_that_share_in_pairs(tmp_path: Path) -> None:
    disks = found([tmp_path / "a", tmp_path / "b", tmp_path / "a", tmp_path / "b"], [0, 0, 0, 0])
    assert [(disk.index, disk.first) for disk in disks] == [(0, 0), (1, 1), (0, 0), (1, 1)]


def test_a_folder_that_cannot_be_made_is_refused_everywhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = found([tmp_path / "a", tmp_path / "file" / "b"], [0, 0])
    assert [type(error) for error in refused] == [UserError, UserError]
    assert {error.problems[0].code for error in refused} == {"not-a-folder"}


@pytest.mark.parametrize(
    "seen",
    [
        [frozenset({0, 1}), frozenset({1})],
        [frozenset({0}), frozenset()],
        [frozenset({0, 1}), frozenset({1, 2}), frozenset({2})],
    ],
)
def test_who_does_not_see_the_other_alike_is_refused(seen: list[frozenset[int]]) -> None:
    for index in range(len(seen)):
        with pytest.raises(UserError, match="too late"):
            shared_by(seen, index)
