"""A repository of the Hugging Face Hub as a store: every change is a commit, made over the newest one, by huggingface_hub.

What this costs, and how it is met. The Hub takes about 128 commits an hour from one repository's writers: files that are sent beside each other become one
commit, and the lease is renewed less often (`Capabilities.commits`). A commit is seen whole or not at all and names the one it was made over, so a condition
is checked against exactly what the commit replaces, and two writers cannot overwrite one another. Content that the repository has is not sent
again, whatever its name. What is deleted leaves the newest commit but stays in the history, and its large files in the storage that is counted, until their owner removes them.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runtime.checkpoint.bandwidth import Bandwidth, Unlimited
from runtime.checkpoint.busy import unavailable
from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.commits import Commits
from runtime.checkpoint.objects import ObjectStore
from runtime.checkpoint.parts import PART_BYTES, Parts, sum_file
from runtime.checkpoint.refusal import missing_bucket, no_credentials, no_permission, package_missing, public_repository, refused
from runtime.checkpoint.renewal import Renewal
from runtime.checkpoint.retry import again
from runtime.checkpoint.service import READ_S, Head, ReplacedError, ToldApart
from runtime.checkpoint.store import Capabilities
from runtime.config.problem import UserError
from runtime.config.storage import Address

# Git's own, in every repository.
_NOT_OURS = ".gitattributes"
_MANY = 64
_ROUNDS = 12


class HubStore(ObjectStore):
    """A private model repository. The token is the one the Hub's library finds: HF_TOKEN, or that of `hf auth login`."""

    def __init__(self, address: Address, bandwidth: Bandwidth | None = None) -> None:
        self._hub = _Hub(address)
        super().__init__(self._hub, bandwidth or Unlimited())

    def _probe(self) -> Capabilities:
        """As ObjectStore.capabilities: the Hub is one service, so what it honours is known; that it lets us write is found out here."""
        again(self._hub.make_ready)
        return Capabilities(conditional_put=True, conditional_replace=True, checksums=True, together=_MANY, commits=True)


class _Hub(ToldApart):
    parallel = "hub"
    span_bytes = most_span_bytes = PART_BYTES

    def __init__(self, address: Address) -> None:
        try:
            from huggingface_hub import HfApi, constants, get_token
        except ImportError as error:
            raise package_missing(address, error, "huggingface_hub") from error
        self.address = address
        self._endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self._token: str | None = None
        self._api: Any = None
        self._client: Callable[[str], Any] = lambda token: HfApi(endpoint=self._endpoint, token=token, library_name="finetune-launcher")
        self._find_token = get_token
        self._renewal = Renewal(self._replace_token)
        if not self._replace_token():
            raise no_credentials(address, "the environment has none")
        self._where: dict[str, Any] = {"repo_id": address.bucket, "repo_type": "model", "revision": address.revision or "main"}
        self._commits = Commits(lambda operations, again: self._commit(self._left_to_do(operations) if again else operations))
        # Writers of one process need not be refused by the Hub to wait for one another.
        self._conditional = threading.Lock()
        self._ready = False

    def make_ready(self) -> None:
        """Make the repository, private, when it is not there. Raises UserError when it is public, or this token may not write there."""
        name, branch = self.address.bucket, self._where["revision"]
        with self._explained(""):
            self._api.create_repo(name, repo_type="model", private=True, exist_ok=True)
            if self._api.repo_info(name, repo_type="model").private is False:
                raise public_repository(self.address)
            if branch != "main":
                self._api.create_branch(name, branch=branch, repo_type="model", exist_ok=True)
            use_plain_http_where_needed(self._endpoint, "model", name, branch, self._token)
        self._ready = True

    def head(self, name: str) -> Head | None:
        """As Service.head, by one request where the repository is there: the Hub counts them."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with self._explained(name, reading=True):
            try:
                return self._head_at(name, self._where["revision"])
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return self._head_at(name, self._newest())

    def get(self, head: Head, offset: int, count: int) -> Generator[bytes, None, None]:
        _, _, commit = (head.version or "").partition("@")
        url = f"{self._endpoint}/{self.address.bucket}/resolve/{commit}/{quote(head.name)}"
        span = {"Range": f"bytes={offset}-{offset + count - 1}", "Accept-Encoding": "identity", "Authorization": f"Bearer {self._token}"}
        try:
            with self._explained(head.name, reading=True):
                answer = _utils().get_session().get(url, headers=span, timeout=READ_S)
                _utils().hf_raise_for_status(answer)
                content: bytes = answer.content
        except FileNotFoundError as error:
            # The history was rewritten: that commit is gone.
            raise ReplacedError(*error.args) from error
        yield content

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None, checksums: bool = False) -> None:
        del checksums
        from huggingface_hub import CommitOperationAdd

        if not self._ready:
            self.make_ready()
        addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        if not create and replaces is None:
            self._commits.make(addition)
            return
        with self._conditional:
            for _ in range(_ROUNDS):
                with self._explained(name):
                    commit = self._newest()
                    there = self._head_at(name, commit)
                    if there is not None and (create or _content_of(there.version) != _content_of(replaces)):
                        raise FileExistsError(f"{self.address.url_of(name)} was written by somebody else")
                    if there is None and not create:
                        raise FileExistsError(f"{self.address.url_of(name)} is gone")
                try:
                    self._commit([addition], parent=commit)
                except FileExistsError:
                    # Another commit came first, of whatever files: what holds now is looked at anew.
                    continue
                return
        raise ConnectionError(f"{self.address.url()} keeps changing")

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        from huggingface_hub import CommitOperationAdd

        # The library sends, several parts at once, and takes no limit: a recipe with one is refused for this store. What has left is told of afterwards.
        _utils().disable_progress_bars()
        digest, expected = self.sums(source, checksums=checksums)
        with self._commits.coming() as coming:
            with self._explained(name):
                addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(source))
                # Known by its content: what an earlier call has sent is not sent again.
                again(lambda: self._preupload(name, addition))
            coming.make(addition)
        parts.bandwidth.take(digest.size)
        return digest, expected

    def sums(self, source: Path, *, checksums: bool) -> tuple[Digest, str | None]:
        """As Service.sums. The Hub sums large files by SHA-256 and the others as git does; which it takes for large is its own decision."""
        large, small = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % source.stat().st_size, usedforsecurity=False)

        def also(content: memoryview) -> None:
            large.update(content)
            small.update(content)

        digest = sum_file(source, also)
        return digest, EitherSum(large.hexdigest(), small.hexdigest()) if checksums else None

    def copy(self, name: str, origin: Head, *, checksums: bool) -> None:
        """Never: what the repository has is not sent again as it is."""
        del origin, checksums
        raise refused(self.address, name, "the Hub knows files by their content")

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        """Nothing: what no commit names is seen by nobody and is the Hub's to clear away."""

    def list(self, prefix: str) -> Iterator[Head]:
        from huggingface_hub import RepoFile

        files = [entry for entry in again(lambda: self._entries(prefix, recursive=True)) if isinstance(entry, RepoFile)]
        for entry in sorted(files, key=lambda entry: str(entry.path)):
            if entry.path != _NOT_OURS and entry.path.startswith(prefix):
                yield Head(name=entry.path, size=entry.size)

    def folders(self, prefix: str) -> Iterator[str]:
        from huggingface_hub import RepoFolder

        for entry in again(lambda: self._entries(prefix, recursive=False)):
            if isinstance(entry, RepoFolder) and entry.path.startswith(prefix):
                yield f"{entry.path}/"

    def delete(self, name: str) -> None:
        from huggingface_hub import CommitOperationDelete

        with self._commits.coming() as coming:
            if self.head(name) is not None:
                coming.make(CommitOperationDelete(path_in_repo=name, is_folder=False))

    def refuses_wrong_checksum(self, name: str) -> bool:
        """Yes: a large file is stored under its SHA-256, and another content is turned away."""
        del name
        return True

    def _replace_token(self) -> bool:
        """Whether there is another token than the one in use, by `hf auth login` say; it is used from now on."""
        token = self._find_token()
        if not token or token == self._token:
            return False
        self._token, self._api = token, self._client(token)
        return True

    def _newest(self) -> str:
        """The newest commit. A repository that is not there is made: a run looks for its checkpoints before it writes the first."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        def ask() -> str:
            return str(self._api.repo_info(self.address.bucket, repo_type="model", revision=self._where["revision"]).sha)

        try:
            return ask()
        except (RepositoryNotFoundError, RevisionNotFoundError):
            self.make_ready()
            return ask()

    def _entries(self, prefix: str, *, recursive: bool) -> Sequence[Any]:
        from huggingface_hub.errors import EntryNotFoundError

        with self._explained("", reading=True):
            try:
                where = self._where | {"revision": self._newest(), "path_in_repo": prefix.rstrip("/") or None}
                return [*self._api.list_repo_tree(**where, recursive=recursive)]
            except EntryNotFoundError:
                return []

    def _head_at(self, name: str, commit: str) -> Head | None:
        where = self._where | {"revision": commit}
        for found in self._api.get_paths_info(paths=[name], expand=True, **where):
            if found.path == name and hasattr(found, "size"):
                made = found.last_commit.date.timestamp() if found.last_commit else None
                # The commit that made it what it is holds it too, whatever has been committed since.
                commit = found.last_commit.oid if found.last_commit else self._newest()
                checksum = found.lfs.sha256 if found.lfs else found.blob_id
                return Head(name=name, size=found.size, version=f"{found.blob_id}@{commit}", checksum=checksum, modified=made)
        return None

    def _preupload(self, name: str, addition: Any) -> None:
        with self._explained(name):
            self._api.preupload_lfs_files(additions=[addition], free_memory=False, **self._where)

    def _left_to_do(self, operations: Sequence[Any]) -> Sequence[Any]:
        """`operations` without the deletions that have been done: the Hub refuses a commit that deletes what is not there."""
        from huggingface_hub import CommitOperationDelete

        gone = [operation for operation in operations if isinstance(operation, CommitOperationDelete)]
        gone = [operation for operation in gone if self.head(operation.path_in_repo) is None]
        return [operation for operation in operations if operation not in gone]

    def _commit(self, operations: Sequence[Any], parent: str | None = None) -> None:
        """One commit, none without operations. Raises FileExistsError when another one came before it and after `parent`."""
        if not operations:
            return
        first = operations[0].path_in_repo
        title = first if len(operations) == 1 else f"{first} and {len(operations) - 1} more"
        with self._explained(first):
            self._api.create_commit(operations=[*operations], commit_message=title, parent_commit=parent, **self._where)

    @contextmanager
    def _explained(self, name: str, *, reading: bool = False) -> Iterator[None]:
        """The errors a Service raises, for those of the Hub's library."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            yield
        except HfHubHTTPError as error:
            raise self._answer(error, name, reading=reading) from None
        except OfflineModeIsEnabled:
            raise refused(self.address, name, "the Hub's library is told to stay offline (HF_HUB_OFFLINE)") from None
        except (UserError, OSError):
            raise
        except Exception as error:
            # The library hands on what its transports raise: httpx, requests, and RuntimeError of hf_xet. None of their texts may hold a token.
            if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests", "urllib3") or isinstance(
                error, RuntimeError
            ):
                raise ConnectionError(f"{self.address.url_of(name)}: {type(error).__name__}") from None
            if isinstance(error, ValueError):
                raise refused(self.address, name, type(error).__name__) from None
            raise

    def _answer(self, error: Any, name: str, *, reading: bool) -> Exception:
        status = int(getattr(error.response, "status_code", 0) or 0)
        url, code = self.address.url_of(name), str(error.response.headers.get("X-Error-Code") or "")
        if status == 404 and code in ("RepoNotFound", "RevisionNotFound"):
            return missing_bucket(self.address)
        if status == 404:
            return FileNotFoundError(f"{url} is missing") if reading else ConnectionError(f"{url}: 404")
        if status in (409, 412) and reading:
            return ConnectionError(f"{url}: {status}")
        if status in (409, 412):
            return FileExistsError(f"{url}: another commit came first")
        if status == 401 and self._renewal.found():
            return ConnectionError(f"{url}: 401, and there is a new token by now")
        if status == 401:
            return no_credentials(self.address, "the Hub does not accept the token (401)")
        if status in (402, 403):
            return no_permission(self.address, name, str(status))
        if status >= 500 or status in (0, 408, 425, 429):
            return unavailable(f"{url}: {status}", error.response.headers)
        return refused(self.address, name, str(status))


class EitherSum(str):
    """The checksum of a large file, that equals the one of a small file too: only the Hub knows which it made of a file."""

    __slots__ = ("small",)
    small: str

    def __new__(cls, large: str, small: str) -> EitherSum:
        made = super().__new__(cls, large)
        made.small = small
        return made

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True or self.small == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)


def use_plain_http_where_needed(endpoint: str, kind: str, repo: str, revision: str, token: str | None) -> None:
    """Have the client send files over plain HTTP to an endpoint without the storage of huggingface.co, which it does not find out by itself."""
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_XET or endpoint == constants._HF_DEFAULT_ENDPOINT:
        return
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answered = _utils().get_session().get(f"{endpoint}/api/{kind}s/{repo}/xet-write-token/{revision}", headers=headers)
    if answered.status_code == 404:
        constants.HF_HUB_DISABLE_XET = True
    else:
        _utils().hf_raise_for_status(answered)


def _utils() -> Any:
    from huggingface_hub import utils

    return utils


def _content_of(version: str | None) -> str:
    return (version or "").partition("@")[0]
