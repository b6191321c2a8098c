"""One push: files into a repository as one commit over the newest one, compared with what is there afterwards.

`create_commit` after `preupload_lfs_files` rather than the client's helpers for whole folders, which make several commits of a large folder: here the repository goes from one
model to the next in one step, and a commit of anybody else is never overwritten, since ours names the one it was made over. Sending goes on where it was cut off all the same:
large files are known by their content, and what the Hub has is not sent again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.checkpoint.hub import use_plain_http_where_needed
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.publish.hub.asking import OnRetry, ask
from runtime.publish.hub.repository import Repository

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.hf_api import RepoFile

Result = TypeVar("Result")
Patiently = Callable[[Callable[[], Any]], Any]
Stale = Callable[[Collection[str]], Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What is on the Hub now, every file compared. `commit` is the one that holds it, made by this push or found there."""

    url: str
    commit: str
    files: int
    bytes: int
    changed: int
    """Files sent or removed; 0 when all was there already."""


def push(
    repository: Repository,
    files: Mapping[str, Path],
    *,
    message: str,
    stale: Stale = lambda _names: (),
    patience_s: float,
    on_retry: OnRetry | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], object] = time.sleep,
) -> Pushed:
    """Put `files` (name in the repository to local file) into `repository`, and verify every one of them there by size and checksum.

    Of the names that are there, those `stale` picks go in the same commit. Anything else stays. Raises UserError: exit 8 as `ask`, exit 7 when what is there afterwards differs.
    """
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    contents = {name: _Content(path) for name, path in sorted(files.items())}
    until = time.monotonic() + patience_s

    def patiently(work: Callable[[], Result], *, over_newer: bool = False) -> Result:
        left = max(0.0, until - time.monotonic())
        return ask(work, repository, patience_s=left, on_retry=on_retry, cancelled=cancelled, sleep=sleep, over_newer=over_newer)

    patiently(
        lambda: use_plain_http_where_needed(repository.endpoint, repository.kind, repository.id, repository.revision, repository.token)
    )
    return patiently(lambda: _attempt(repository, contents, patiently, message=message, stale=stale), over_newer=True)


def _attempt(repository: Repository, contents: Mapping[str, _Content], patiently: Patiently, *, message: str, stale: Stale) -> Pushed:
    # First of all, since everything that follows is decided by what this commit holds.
    head = patiently(lambda: repository.api().repo_info(repository.id, repo_type=repository.kind, revision=repository.revision)).sha
    there = patiently(lambda: _tree(repository, head))
    new = {name: content for name, content in contents.items() if name not in there or not content.same_as(there[name])}
    gone = sorted(set(stale(there.keys())) & there.keys() - contents.keys())
    commit = head
    if new or gone:
        commit = _commit(repository, new, gone, patiently, message=message, parent=head)
        there = patiently(lambda: _tree(repository, commit))
        wrong = [name for name, content in contents.items() if name not in there or not content.same_as(there[name])]
        if wrong:
            raise UserError(_differing(repository, wrong, commit), exit_code=ExitCode.NOT_VERIFIED)
    size = sum(content.size for content in contents.values())
    return Pushed(url=repository.url, commit=commit, files=len(contents), bytes=size, changed=len(new) + len(gone))


def _commit(
    repository: Repository, new: Mapping[str, _Content], gone: Iterable[str], patiently: Patiently, *, message: str, parent: str
) -> str:
    from huggingface_hub import CommitOperationDelete

    api = repository.api()
    where: dict[str, Any] = {"repo_id": repository.id, "repo_type": repository.kind, "revision": repository.revision}
    additions = {name: content.addition(name) for name, content in new.items()}
    # A file that goes to two places is sent once.
    once = {content.path: additions[name] for name, content in new.items()}
    patiently(lambda: api.preupload_lfs_files(additions=once.values(), free_memory=False, **where))
    deletions = [CommitOperationDelete(path_in_repo=name, is_folder=False) for name in gone]
    operations = [*additions.values(), *deletions]
    # Safe to ask again: had the first one been made after all, this one is refused, since another commit has happened.
    made = patiently(lambda: api.create_commit(operations=operations, commit_message=message, parent_commit=parent, **where))
    return str(made.oid)


def _tree(repository: Repository, commit: str) -> dict[str, RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    entries = repository.api().list_repo_tree(repository.id, repo_type=repository.kind, revision=commit, recursive=True)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


class _Content:
    """A local file, read for its checksums at most once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._git = ""
        self._info: Any = None

    def addition(self, name: str) -> CommitOperationAdd:
        """The file as part of a commit, to `name`."""
        from huggingface_hub import CommitOperationAdd

        made = CommitOperationAdd(path_in_repo=name, path_or_fileobj=self.path)
        if self._info is not None:
            made.upload_info = self._info
        # The client notes the checksum there while it sends, and a comparison notes it for the client.
        self._info = made.upload_info
        return made

    def same_as(self, there: RepoFile) -> bool:
        """Whether the Hub's file has this size and checksum: SHA-256 for large files, git's SHA-1 for the others."""
        if there.size != self.size:
            return False
        if there.lfs is None:
            return bool(there.blob_id == self._git_checksum())
        if self._info is None:
            self.addition("checksum")
        return bool(there.lfs.sha256 == self._info.sha256.hex())

    def _git_checksum(self) -> str:
        if not self._git:
            digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
            with self.path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
            self._git = digest.hexdigest()
        return self._git


def _differing(repository: Repository, names: list[str], commit: str) -> Problem:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Problem(
        code="not-verified",
        path=repository.option,
        place=f"{repository.url} at {commit[:12]}",
        message=f"what the Hub holds differs from what was sent: {shown}",
        fix="`launcher publish RUN` pushes again; a .gitignore in the repository leaves files out",
    )
