"""A manifest is read as it was written or not at all, and every difference from it is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.manifest import DAMAGE, Manifest, ManifestFile, parse_manifest, read_manifest, verify
from runtime.config.problem import UserError

ZERO = "xxh3_128:" + "0" * 32


def manifest_of(**changes: Any) -> Manifest:
    return Manifest(**{"step": 40, "created": 12.5, "files": (ManifestFile(path="a/b", size=3, checksum=ZERO),), **changes})


def signed(document: dict[str, Any]) -> bytes:
    """A manifest's text with a valid checksum, whatever it says."""
    body = {key: value for key, value in document.items() if key != "checksum"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({**body, "checksum": digest_bytes(text).checksum}, sort_keys=True, indent=1).encode() + b"\n"


def document_of(**changes: Any) -> dict[str, Any]:
    return {**json.loads(manifest_of().encode()), **changes}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
names = st.from_regex(r"[a-zä][a-z0-9 .-]{0,8}", fullmatch=True)
manifests = st.builds(
    lambda step, created, paths, extra, attempt: Manifest(
        step=step,
        created=created,
        files=tuple(ManifestFile(path=path, size=len(path), checksum=ZERO) for path in paths),
        extra=extra,
        attempt=attempt,
    ),
    st.integers(0, 10**9),
    st.floats(0, 4e9),
    st.lists(names, min_size=1, max_size=4, unique=True),
    st.dictionaries(st.text(max_size=6), json_values, max_size=3),
    st.integers(0, 99),
)


@given(manifests)
def test_what_is_written_is_what_is_read(manifest: Manifest) -> None:
    assert parse_manifest(manifest.encode(), place="x") == manifest


@given(manifests, st.data())
def test_any_changed_byte_of_a_manifest_is_found(manifest: Manifest, data: st.DataObject) -> None:
    text = bytearray(manifest.encode())
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UserError) as caught:
        parse_manifest(bytes(text), place="here")
    assert caught.value.problems[0].code == "bad-manifest"
    assert caught.value.problems[0].place == "here"


@given(manifests, st.data())
def test_any_cut_of_a_manifest_is_found(manifest: Manifest, data: st.DataObject) -> None:
    text = manifest.encode()
    with pytest.raises(UserError):
        parse_manifest(text[: data.draw(st.integers(0, len(text) - 1))], place="here")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a/", "", ".", "C:/x", "a\\b", "a\nb", "a\x00b"])
def test_a_path_that_leaves_the_folder_is_refused_even_when_the_checksum_is_right(path: str) -> None:
    document = document_of(files=[{"path": path, "size": 1, "checksum": ZERO}])
    with pytest.raises(UserError, match="not valid"):
        parse_manifest(signed(document), place="here")


def test_a_key_that_leaves_the_run_is_refused() -> None:
    document = document_of(files=[{"path": "a", "size": 1, "checksum": ZERO, "key": "../../other-run/a"}])
    with pytest.raises(UserError, match="leaves its folder"):
        parse_manifest(signed(document), place="here")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([{"path": "a", "size": 1, "checksum": ZERO}] * 2, "listed twice"),
        ([{"path": "a", "size": 1, "checksum": ZERO}, {"path": "a/b", "size": 1, "checksum": ZERO}], "below a path"),
        ([{"path": "manifest.json", "size": 1, "checksum": ZERO}], "does not list itself"),
        ([{"path": "a", "size": -1, "checksum": ZERO}], "size"),
        ([{"path": "a", "size": 1, "checksum": "md5:0"}], "checksum"),
        ([{"path": "a", "size": 1, "checksum": ZERO + "\n"}], "checksum"),
        ([], "files"),
    ],
)
def test_impossible_file_lists_are_refused(files: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_manifest(signed(document_of(files=files)), place="here")


def test_a_newer_format_is_named_as_such() -> None:
    with pytest.raises(UserError, match="manifest format 3") as caught:
        parse_manifest(signed(document_of(format_version=3, something_new=1)), place="here")
    assert caught.value.problems[0].code == "newer-format"
    assert "upgrade" in caught.value.problems[0].fix


def test_an_older_format_is_no_damage() -> None:
    with pytest.raises(UserError, match="manifest format 1") as caught:
        parse_manifest(signed(document_of(format_version=1)), place="here")
    assert {problem.code for problem in caught.value.problems} == {"older-format"}
    assert "older-format" not in DAMAGE


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"checksum": 1}'])
def test_what_is_no_manifest_is_refused_without_a_crash(content: bytes) -> None:
    with pytest.raises(UserError, match="not valid"):
        parse_manifest(content, place="here")


def test_a_diverged_loss_can_be_written_down() -> None:
    manifest = manifest_of(extra={"loss": float("nan"), "seen": [float("inf"), None]})
    assert parse_manifest(manifest.encode(), place="x").extra == {"loss": "nan", "seen": ["inf", None]}


def test_a_manifest_is_never_changed() -> None:
    with pytest.raises(ValidationError):
        manifest_of().step = 41  # type: ignore[misc]


def test_a_folder_without_a_manifest_is_not_sealed(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError) as caught:
            read_manifest(folder)
        assert caught.value.problems[0].code == "unsealed"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_changed_byte_or_cut_of_any_file_is_found(sealed: Any, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "checkpoints" / "step-00000040"
    if not folder.exists():
        sealed(40)
    copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
    manifest = read_manifest(copy)
    assert verify(copy, manifest) == ()
    victim = copy / data.draw(st.sampled_from([file.path for file in manifest.files]))
    content = bytearray(victim.read_bytes())
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
        expected = "wrong-checksum"
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
        expected = "wrong-size"
    victim.write_bytes(content)
    assert [problem.code for problem in verify(copy, manifest)] == [expected]
    assert bool(verify(copy, manifest, deep=False)) == (expected == "wrong-size")


def test_every_kind_of_difference_is_named(sealed: Any) -> None:
    folder = sealed(40)
    manifest = read_manifest(folder)
    with (folder / "adapter_model.safetensors").open("rb+") as stream:
        stream.truncate(2097)
    (folder / "trainer_state.json").unlink()
    (folder / "rng/rank-0.pt").unlink()
    (folder / "rng/rank-0.pt").symlink_to("/etc/hostname")
    (folder / "rng/.hidden").touch()
    assert [(problem.code, problem.message) for problem in verify(folder, manifest)] == [
        ("wrong-size", "adapter_model.safetensors is 3 bytes short (found 2,097, expected 2,100)"),
        ("missing-file", "rng/rank-0.pt is not a plain file"),
        ("missing-file", "trainer_state.json is missing"),
        ("extra-file", "rng/.hidden is not part of this checkpoint"),
    ]


def test_a_file_reached_through_a_linked_folder_does_not_count(sealed: Any, tmp_path: Path) -> None:
    folder = sealed(40)
    shutil.move(folder / "rng", tmp_path / "elsewhere")
    (folder / "rng").symlink_to(tmp_path / "elsewhere")
    assert [problem.message for problem in verify(folder, read_manifest(folder)) if problem.code == "missing-file"] == [
        "rng/rank-0.pt is missing"
    ]


def test_a_seal_inside_a_seal_is_its_own_affair(sealed: Any, tmp_path: Path) -> None:
    folder = sealed(40)
    inner = sealed(41, checkpoints=folder)
    (inner / "anything").touch()
    (folder / ".staging-x-1-1-aa").mkdir()
    (folder / ".staging-x-1-1-aa/half").touch()
    assert verify(folder, read_manifest(folder)) == ()
