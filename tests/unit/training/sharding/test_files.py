"""Every tensor has one file, every file one writer, and no writer more than its share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.problem import UserError
from runtime.training.sharding.files import places, spread, write_index

SIZES = st.dictionaries(st.text("abc.", min_size=1, max_size=6), st.integers(0, 1000), max_size=30)


@given(sizes=SIZES, writers=st.integers(1, 9), limit=st.integers(1, 2000))
def test_each_tensor_is_in_one_file_and_no_file_is_larger_than_its_share(sizes: dict[str, int], writers: int, limit: int) -> None:
    files = spread(sizes, stem="model", writers=writers, limit=limit)
    assert [name for file in files for name in file.tensors] == list(sizes)
    share = max(1, min(limit, -(-sum(sizes.values()) // writers)))
    for file in files:
        assert sum(sizes[name] for name in file.tensors) <= share or len([name for name in file.tensors if sizes[name]]) == 1
    # At most one file for each writer in every round, so that all of them write at once.
    assert [file.writer for file in files] == [index % writers for index in range(len(files))]


def test_files_are_named_as_those_of_a_large_model(tmp_path: Path) -> None:
    files = spread({"a": 3, "b": 3, "c": 1}, stem="model", writers=2)
    assert [(file.name, file.tensors) for file in files] == [
        ("model-00001-of-00002.safetensors", ("a",)),
        ("model-00002-of-00002.safetensors", ("b", "c")),
    ]
    write_index(tmp_path, files, stem="model", total_bytes=7)
    assert places(tmp_path, stem="model") == {
        "a": tmp_path / "model-00001-of-00002.safetensors",
        "b": tmp_path / "model-00002-of-00002.safetensors",
        "c": tmp_path / "model-00002-of-00002.safetensors",
    }


def test_a_folder_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither optimizer\.safetensors\.index\.json nor optimizer\.safetensors"):
        places(tmp_path, stem="optimizer")
