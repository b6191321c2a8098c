"""A Hugging Face Hub of one process, in memory: repositories with branches and commits, large files by content, tokens, and failures to order.

It speaks what huggingface_hub 2.4 and datasets 5.2 ask of an endpoint without xet.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".pt", ".pth", ".parquet", ".bin")


@dataclass(frozen=True)
class File:
    """One file of a commit. `lfs` is the SHA-256 of a large one."""

    content: bytes
    lfs: str | None

    @property
    def oid(self) -> str:
        """Git's name for it."""
        content = self.content
        if self.lfs:
            content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.lfs}\nsize {len(content)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        """The file as listings show it."""
        lfs = {"lfs": {"oid": self.lfs, "size": len(self.content), "pointerSize": 134}} if self.lfs else {}
        return {"type": "file", "path": path, "size": len(self.content), "oid": self.oid, **lfs}


@dataclass(frozen=True)
class Commit:
    files: dict[str, File]
    parent: str | None
    title: str
    made: float = field(default_factory=time.time)


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What to answer instead: a status, with headers; `drop` closes the connection before the work, `lose` after it."""

    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    how: str = "answer"


class RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.message, self.code = status, message, code


class FakeHub:
    """The server. `orders` are answers to give to the next requests whose `METHOD path` matches; `every` breaks each N-th request with a status."""

    def __init__(self) -> None:
        self.token = "hf_" + "canary" * 5
        self.role = "write"
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.every: tuple[int, int] | None = None
        self.before: Callable[[str], None] = lambda request: None
        self.may_write = True
        self.writes_checked = True
        self._orders: list[tuple[re.Pattern[str], Answer]] = []
        self._lock = threading.RLock()

    # What tests say and see

    def order(self, pattern: str, *answers: Answer | int) -> None:
        """Give `answers`, in this order, to the next requests that match."""
        self._orders += [(re.compile(pattern), answer if isinstance(answer, Answer) else Answer(answer)) for answer in answers]

    def put(self, repo: str, files: dict[str, bytes], *, title: str = "by hand", branch: str = "main", **settings: Any) -> str:
        """Commit `files` as somebody else would; makes the repository (`models/owner/name`) if need be. Returns the commit."""
        with self._lock:
            held = self.repos.get(repo) or self._make(repo)
            for name, value in settings.items():
                setattr(held, name, value)
            made = {path: self._file(path, content) for path, content in files.items()}
            return self._commit(held, branch, {**held.commits[held.branches[branch]].files, **made}, title)

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        """What the branch holds now."""
        held = self.repos[repo]
        return {path: file.content for path, file in held.commits[held.branches[branch]].files.items()}

    def titles(self, repo: str, branch: str = "main") -> list[str]:
        """The titles of the branch's commits, newest first."""
        held, found = self.repos[repo], []
        sha: str | None = held.branches[branch]
        while sha:
            found.append(held.commits[sha].title)
            sha = held.commits[sha].parent
        return found

    # What the server does

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        with self._lock:
            signed = headers.get("Authorization") == f"Bearer {self.token}"
            for verb, pattern, work in _ROUTES:
                if verb == method and (found := re.fullmatch(pattern, path)):
                    parts = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
                    request = Request(self, signed, headers, query, body, parts)
                    result = work(request)
                    return result if isinstance(result, tuple) else (200, json.dumps(result).encode(), {"Content-Type": "application/json"})
            raise RefusedError(404, f"no such page: {path}")

    def ordered(self, request: str) -> Answer | None:
        """The answer that was ordered for this request."""
        with self._lock:
            self.asked.append(request)
            for index, (pattern, answer) in enumerate(self._orders):
                if pattern.search(request):
                    del self._orders[index]
                    return answer
            if self.every is not None and len(self.asked) % self.every[0] == 0:
                return Answer(self.every[1])
        return None

    def _make(self, repo: str, *, private: bool = False) -> Repo:
        made = self.repos[repo] = Repo(private=private)
        self._commit(made, "main", {".gitattributes": self._file(".gitattributes", b"*.bin filter=lfs\n")}, "initial commit")
        return made

    def _commit(self, repo: Repo, branch: str, files: dict[str, File], title: str) -> str:
        parent = repo.branches.get(branch)
        sha = hashlib.sha1(f"{parent}{title}{len(repo.commits)}{sorted((p, f.oid) for p, f in files.items())}".encode()).hexdigest()
        repo.commits[sha] = Commit(files, parent, title)
        repo.branches[branch] = sha
        return sha

    def _file(self, path: str, content: bytes) -> File:
        return File(content, hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else None)


@dataclass
class Request:
    hub: FakeHub
    signed: bool
    headers: Any
    query: dict[str, list[str]]
    body: bytes
    parts: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)

    def require_token(self) -> None:
        if not self.signed:
            raise RefusedError(401, "Invalid username or password.")

    def require_write(self) -> None:
        self.require_token()
        if not self.hub.may_write or self.hub.role == "read":
            raise RefusedError(403, "Forbidden: you must use a write token to do this.")

    def repo(self) -> Repo:
        found = self.hub.repos.get(f"{self.parts.get('kind', 'models')}/{self.parts['id']}")
        if (found is None or found.private) and not self.signed:
            raise RefusedError(401, "Invalid username or password.")
        if found is None:
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        return found

    def commit(self) -> tuple[str, Commit]:
        repo, revision = self.repo(), self.parts.get("revision", "main")
        sha = repo.branches.get(revision) or (revision if revision in repo.commits else None)
        if sha is None:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, repo.commits[sha]


def _whoami(r: Request) -> Any:
    r.require_token()
    return {"type": "user", "name": "tester", "orgs": [], "auth": {"type": "access_token", "accessToken": {"role": r.hub.role}}}


def _create(r: Request) -> Any:
    r.require_write()
    asked = r.json()
    name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
    key = f"{asked.get('type') or 'model'}s/{name}"
    made = {"url": f"http://{r.headers['Host']}/{name}", "name": name, "id": name}
    if key in r.hub.repos:
        return 409, json.dumps({**made, "error": "You already created this repo"}).encode(), {"Content-Type": "application/json"}
    r.hub._make(key, private=asked.get("visibility") == "private" or bool(asked.get("private")))
    return made


def _info(r: Request) -> Any:
    sha, commit = r.commit()
    repo = r.repo()
    names = [{"rfilename": path} for path in commit.files]
    return {
        **{"_id": sha[:24], "id": r.parts["id"], "modelId": r.parts["id"], "sha": sha, "private": repo.private, "gated": repo.gated},
        **{"tags": [], "downloads": 0, "likes": 0, "siblings": names, "lastModified": "2026-01-01T00:00:00.000Z"},
    }


def _auth_check(r: Request) -> Any:
    r.repo()
    if not r.hub.writes_checked:
        raise RefusedError(404, "no such page")
    r.require_write()
    return {}


def _branch(r: Request) -> Any:
    r.require_write()
    repo = r.repo()
    if r.parts["name"] in repo.branches:
        raise RefusedError(409, "Reference already exists")
    repo.branches[r.parts["name"]] = repo.branches["main"]
    return {}


def _preupload(r: Request) -> Any:
    r.require_write()
    _, commit = r.commit()
    answers = []
    for file in r.json()["files"]:
        there = commit.files.get(file["path"])
        mode = "lfs" if file["path"].endswith(LARGE) else "regular"
        answers.append(
            {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": (there.lfs or there.oid) if there else None}
        )
    return {"files": answers}


def _batch(r: Request) -> Any:
    r.require_write()
    objects = []
    for wanted in r.json()["objects"]:
        held = {"oid": wanted["oid"], "size": wanted["size"], "authenticated": True}
        if wanted["oid"] not in r.hub.blobs:
            href = f"http://{r.headers['Host']}/store/{wanted['oid']}?X-Amz-Signature=sign"
            held["actions"] = {"upload": {"href": href, "header": {}}}
        objects.append(held)
    return {"transfer": "basic", "objects": objects}


def _store(r: Request) -> Any:
    if hashlib.sha256(r.body).hexdigest() != r.parts["oid"]:
        raise RefusedError(400, "the content is not what was promised")
    r.hub.blobs[r.parts["oid"]] = r.body
    return {}


def _push(r: Request) -> Any:
    r.require_write()
    repo, (head, commit) = r.repo(), r.commit()
    lines = [json.loads(line) for line in r.body.splitlines() if line.strip()]
    if lines[0]["value"].get("parentCommit") not in (None, head):
        raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(commit.files)
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = File(base64.b64decode(value["content"]), None)
        elif line["key"] == "lfsFile":
            if value["oid"] not in r.hub.blobs:
                raise RefusedError(400, f"{value['oid']} was not uploaded")
            files[value["path"]] = File(r.hub.blobs[value["oid"]], value["oid"])
        else:
            del files[value["path"]]
    sha = r.hub._commit(repo, r.parts["revision"], files, lines[0]["value"]["summary"])
    return {"success": True, "commitOid": sha, "commitUrl": f"http://{r.headers['Host']}/{r.parts['id']}/commit/{sha}"}


def _tree(r: Request) -> Any:
    _, commit = r.commit()
    below = r.parts.get("path", "").strip("/")
    prefix = f"{below}/" if below else ""
    deep = r.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    inside = {path: file for path, file in commit.files.items() if path.startswith(prefix)}
    if below and not inside:
        raise RefusedError(404, "Entry not found", "EntryNotFound")
    folders: set[str] = set()
    entries = []
    for path, file in sorted(inside.items()):
        parts = path.removeprefix(prefix).split("/")
        folders |= {prefix + "/".join(parts[:depth]) for depth in range(1, len(parts) if deep else min(2, len(parts)))}
        if deep or len(parts) == 1:
            entries.append(file.described(path))
    return [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)] + entries


def _last_commit(repo: Repo, path: str, sha: str) -> dict[str, Any]:
    file = repo.commits[sha].files[path]
    while (parent := repo.commits[sha].parent) is not None and repo.commits[parent].files.get(path) == file:
        sha = parent
    date = datetime.fromtimestamp(repo.commits[sha].made, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"lastCommit": {"id": sha, "title": repo.commits[sha].title, "date": date}}


def _paths_info(r: Request) -> Any:
    sha, commit = r.commit()
    asked = parse_qs(r.body.decode()).get("paths", []) if b"paths=" in r.body else r.json()["paths"]
    folders = [path for path in asked if any(name.startswith(f"{path}/") for name in commit.files)]
    found = [commit.files[path].described(path) | _last_commit(r.repo(), path, sha) for path in asked if path in commit.files]
    return found + [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]


def _resolve(r: Request) -> Any:
    sha, commit = r.commit()
    if r.repo().gated:
        raise RefusedError(403, "Access to this repository is restricted.", "GatedRepo")
    file = commit.files.get(r.parts["path"])
    if file is None:
        raise RefusedError(404, "Entry not found", "EntryNotFound")
    headers = {
        "X-Repo-Commit": sha,
        "ETag": f'"{file.lfs or file.oid}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    if file.lfs:
        headers |= {"X-Linked-Etag": f'"{file.lfs}"', "X-Linked-Size": str(len(file.content))}
    span = re.match(r"bytes=(\d+)-(\d*)", r.headers.get("Range") or "")
    if span is None:
        return 200, file.content, headers
    first, last = int(span[1]), int(span[2] or len(file.content) - 1)
    return 206, file.content[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(file.content)}"}


_API = r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets)/)?(?P<id>[^/]+/[^/]+)"
_ROUTES: list[tuple[str, str, Callable[[Request], Any]]] = [
    ("POST", "/api/validate-yaml", lambda r: {"errors": [], "warnings": []}),
    ("GET", "/api/whoami-v2", _whoami),
    ("POST", "/api/repos/create", _create),
    ("GET", _API, _info),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", _info),
    ("GET", rf"{_API}/auth-check(/write)?", _auth_check),
    ("POST", rf"{_API}/branch/(?P<name>[^/]+)", _branch),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", _preupload),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", _push),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?P<path>/.*)?", _tree),
    ("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)", _paths_info),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", _batch),
    ("PUT", r"/store/(?P<oid>\w{64})", _store),
    ("GET", rf"{_PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _resolve),
]


@contextmanager
def running() -> Iterator[tuple[FakeHub, str]]:
    """The Hub and its address, while a block runs."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet an answer: a second one would wait 40 ms for the first one's receipt.
        wbufsize = 1 << 20
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def _serve(self) -> None:
            url = urlsplit(self.path)
            body = self._body()
            request = f"{self.command} {url.path}"
            hub.before(request)
            answer = hub.ordered(request)
            if answer is not None and answer.how == "drop":
                self.close_connection = True
                return
            if answer is not None and answer.how == "answer":
                status, content, headers = answer.status, b'{"error": "as ordered"}', answer.headers
            else:
                try:
                    method = "GET" if self.command == "HEAD" else self.command
                    status, content, headers = hub.answer(method, url.path, parse_qs(url.query), body, self.headers)
                except RefusedError as error:
                    headers = {"X-Error-Message": error.message, **({"X-Error-Code": error.code} if error.code else {})}
                    status, content = error.status, json.dumps({"error": error.message}).encode()
            if answer is not None and answer.how == "lose":
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _body(self) -> bytes:
            if (self.headers.get("Transfer-Encoding") or "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
