"""Sealing a local checkpoint in a store: every object sent and read back, the manifest last and by one writer only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from runtime.checkpoint.layout import MANIFEST
from runtime.checkpoint.manifest import Manifest, ManifestFile, difference, read_manifest
from runtime.checkpoint.store import digest_object
from runtime.checkpoint.stored import RunStore, file_key, folder_name, verify_stored
from runtime.config.problem import Problem, UserError

# Somebody else's write between a look and a write is rare; so many in a row are two writers at odds.
_ROUNDS = 4


class NotUploadableError(Exception):
    """This local checkpoint can never be uploaded as it is: it is damaged or gone."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class LostError(Exception):
    """Another writer has sealed this step with other content; `winner` is its manifest."""

    def __init__(self, winner: Manifest, address: str) -> None:
        self.winner = winner
        self.address = address
        super().__init__(f"attempt {winner.attempt} has already sealed step {winner.step} in {address}")


def seal_in_store(
    place: RunStore,
    folder: Path,
    *,
    writer: str,
    sent: dict[str, int] | None = None,
    earlier: Manifest | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    guard: Callable[[], None] = lambda: None,
    whole: Callable[[Manifest], Manifest] | None = None,
) -> Manifest:
    """The manifest of the local sealed `folder` as it now is in the store, complete and read back.

    Objects go under `<step>/<writer>/`, a prefix that no other writer uses, so two writers never mix theirs; the manifest is created only if
    absent, so one of them wins. Where the store cannot do that, it is looked for, written and read back: two writers may then both believe to have
    sealed, each with everything its manifest names, and the later one stays.
    `sent` remembers the files that are already there and verified, and how many bytes of each have left this machine, for a second call after a failure
    and for whoever counts. What `earlier`, another sealed checkpoint of the run, has already is not sent again: the store copies it. The same content
    sealed before is taken as it is; a manifest in the way that does not verify is replaced, and so is the final model of an earlier training. `guard`
    is called before each change that others can see and raises when this writer may go on no more. Where `folder` is the portion of one of several
    machines, `whole` makes of its manifest that of the checkpoint, once it is all in the store. Raises LostError, NotUploadableError, OSError for what may
    pass (InterruptedError when `cancelled`), UserError from the store, and what `guard` and `whole` raise.
    """
    conditional = place.store.capabilities.conditional_put
    local = read_sealed(folder)
    remote = _named(local, writer)
    if local.kind == "portion":
        if whole is None:
            raise NotUploadableError(Problem(code="unsealed", message="one machine's portion is no checkpoint", place=str(folder)))
        _send_all(place, folder, remote, writer=writer, sent=sent, earlier=earlier, cancelled=cancelled, guard=guard)
        remote = whole(remote)
        _require_objects(place, remote)
        return _publish(place, remote, guard, conditional=conditional)
    present = _present(place, remote)
    if present is not None and not _replaces(remote, present):
        return _settle(place, remote, present)
    _send_all(place, folder, remote, writer=writer, sent=sent, earlier=earlier, cancelled=cancelled, guard=guard)
    return _publish(place, remote, guard, conditional=conditional)


def send_portion(
    place: RunStore,
    folder: Path,
    *,
    writer: str,
    sent: dict[str, int] | None = None,
    earlier: Manifest | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    guard: Callable[[], None] = lambda: None,
) -> Manifest:
    """The manifest of the local portion `folder`, each of whose files is in the store now, verified; nothing there says so. Raises as `seal_in_store`."""
    remote = _named(read_sealed(folder), writer)
    _send_all(place, folder, remote, writer=writer, sent=sent, earlier=earlier, cancelled=cancelled, guard=guard)
    return remote


def read_sealed(folder: Path) -> Manifest:
    """The manifest of a local folder that is to be sent. Raises NotUploadableError when it has none that reads."""
    try:
        return read_manifest(folder)
    except UserError as error:
        raise NotUploadableError(error.problems[0]) from error


def _named(local: Manifest, writer: str) -> Manifest:
    target = folder_name(local)
    return local.model_copy(
        update={"files": tuple(file.model_copy(update={"key": f"{target}/{writer}/{file.path}"}) for file in local.files)}
    )


def _send_all(
    place: RunStore,
    folder: Path,
    remote: Manifest,
    *,
    writer: str,
    sent: dict[str, int] | None,
    earlier: Manifest | None,
    cancelled: Callable[[], bool],
    guard: Callable[[], None],
) -> None:
    done = {} if sent is None else sent
    for path in done.keys() - _still_there(place, folder_name(remote), writer, remote.files) if done else ():
        del done[path]
    origins = _origins(place, earlier)

    def send(file: ManifestFile) -> None:
        # Noted here, so that what is sent beside one that fails counts too.
        done[file.path] = _send(place, folder, file, cancelled, guard, origin=origins.get((file.size, file.checksum)))

    with ThreadPoolExecutor(place.store.capabilities.together, thread_name_prefix="upload") as pool:
        for _ in pool.map(send, [file for file in remote.files if file.path not in done]):
            pass


def _require_objects(place: RunStore, remote: Manifest) -> None:
    """Raise OSError unless every object is there in its size: other machines have sent them, a while ago perhaps."""
    sizes = {stat.key: stat.size for stat in place.store.list(place.key(f"{folder_name(remote)}/"))}
    for file in remote.files:
        if sizes.get(file_key(place, remote, file)) != file.size:
            raise OSError(f"{place.store.url(file_key(place, remote, file))} was sent and is not there")


def _origins(place: RunStore, earlier: Manifest | None) -> dict[tuple[int, str], str]:
    """The objects of `earlier` by their size and checksum.

    They are copied, not named by the new manifest: each checkpoint stays whole by itself. Were objects shared, then retention, of this writer or of one
    that knows nothing of this checkpoint yet, would have to know everybody who counts on one before it may delete it, and no store has a lock for
    that; and damage to one object would break every checkpoint at once that a restore could walk back to. All four kinds of store copy within
    themselves, so what sharing would save is bytes at rest, and unchanged files are the small ones.
    """
    if earlier is None:
        return {}
    return {(file.size, file.checksum): file_key(place, earlier, file) for file in earlier.files if file.size > 0}


def _still_there(place: RunStore, target: str, writer: str, files: tuple[ManifestFile, ...]) -> set[str]:
    """The files of which the store still has the objects: since an earlier call, others may have cleaned up."""
    sizes = {stat.key: stat.size for stat in place.store.list(place.key(f"{target}/{writer}/"))}
    return {file.path for file in files if file.key is not None and sizes.get(place.key(file.key)) == file.size}


def _send(
    place: RunStore, folder: Path, file: ManifestFile, cancelled: Callable[[], bool], guard: Callable[[], None], *, origin: str | None
) -> int:
    """How many bytes were sent to have `file` in the store, verified there."""
    assert file.key is not None
    if cancelled():
        raise InterruptedError("the upload was called off")
    key = place.key(file.key)
    source = folder / file.path
    if not source.is_file():
        raise NotUploadableError(Problem(code="missing-file", message=f"{file.path} is missing", place=str(folder)))
    guard()
    sent = place.store.put_file(key, source, origin=origin)
    if problem := difference(file, sent, str(folder)):
        guard()
        place.store.delete(key)
        raise NotUploadableError(problem)
    count = 0 if sent.copied else sent.size
    if sent.confirmed:
        return count
    if problem := difference(file, digest_object(place.store, key), place.store.url(key)):
        if sent.copied:
            # What it was copied from is damaged. The local file is not.
            return _send(place, folder, file, cancelled, guard, origin=None)
        guard()
        place.store.delete(key)
        raise OSError(f"read back from {problem.place}: {file.path} differs from what was sent")
    return count


def _publish(place: RunStore, remote: Manifest, guard: Callable[[], None], *, conditional: bool) -> Manifest:
    folder = folder_name(remote)
    key = place.key(f"{folder}/{MANIFEST}")
    for _ in range(_ROUNDS):
        try:
            old = _put_manifest(place, remote, key, guard, conditional=conditional)
        except FileExistsError:
            continue
        except _SealedError as error:
            return _settle(place, remote, error.present)
        written = _settle(place, remote, place.manifest(folder))
        if old is not None:
            _drop_objects(place, old, written, guard)
        return written
    raise OSError(f"{place.store.url(key)} keeps changing: another writer is at work")


def _put_manifest(place: RunStore, remote: Manifest, key: str, guard: Callable[[], None], *, conditional: bool) -> Manifest | None:
    """Write the manifest; returns the one of an earlier training that it replaced.

    What is in the way is never deleted first: between that and the write there would be no checkpoint here. Raises FileExistsError when somebody
    else wrote meanwhile, _SealedError when what is there stays.
    """
    store, content = place.store, remote.encode()
    guard()
    if conditional:
        with suppress(FileExistsError):
            store.put_bytes(key, content, create=True)
            return None
    # The version before the content: what is read then may be newer, and the write that names the version fails.
    stat = store.stat(key)
    if stat is None:
        if conditional:
            raise FileExistsError(key)
        store.put_bytes(key, content)
        return None
    present = _present(place, remote)
    if present is not None and not _replaces(remote, present):
        raise _SealedError(present)
    # To read all of what is in the way may have taken long.
    guard()
    if store.capabilities.conditional_replace and stat.version is not None:
        store.put_bytes(key, content, replaces=stat.version)
    else:
        # Two that replace the same broken manifest here may both do so. Each of theirs is complete, and the later one stays.
        store.put_bytes(key, content)
    return present


class _SealedError(Exception):
    def __init__(self, present: Manifest) -> None:
        self.present = present
        super().__init__(present.step)


def _replaces(remote: Manifest, present: Manifest) -> bool:
    """Whether `present` is the final or merged model of an earlier training of this run. A checkpoint of a step is never replaced."""
    return remote.kind != "checkpoint" and present.attempt <= remote.attempt and not present.same_content(remote)


def _drop_objects(place: RunStore, old: Manifest, new: Manifest, guard: Callable[[], None]) -> None:
    kept = {file_key(place, new, file) for file in new.files}
    for key in sorted({file_key(place, old, file) for file in old.files} - kept):
        guard()
        place.store.delete(key)


def _present(place: RunStore, remote: Manifest) -> Manifest | None:
    """The manifest that is already there and whose objects verify; None when there is none, or it is broken."""
    try:
        present = place.manifest(folder_name(remote))
    except FileNotFoundError:
        return None
    except UserError as error:
        if any(problem.code != "bad-manifest" for problem in error.problems):
            raise
        return None
    return None if verify_stored(place, present) else present


def _settle(place: RunStore, remote: Manifest, present: Manifest) -> Manifest:
    if not present.same_content(remote):
        raise LostError(present, place.url(folder_name(remote)))
    return present
