"""Keys of an S3 storage that lie in a profile go along with the run, and the plan says where they come from."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from launcher.plan.storage_keys import renewed_names, storage_keys, with_storage_keys
from runtime.config.problem import ExitCode, UserError

pytest.importorskip("botocore")

STORAGE = "s3://bucket/prefix"
ID, SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = hush\n"
        "[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = hush2\naws_session_token = tok\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        "[profile work]\nregion = eu-west-3\nservices = minio\n[services minio]\ns3 =\n  endpoint_url = http://minio:9000\n[profile broken]\ncredential_process = /does/not/exist\n"
    )
    for name in (
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        ID,
        SECRET,
        TOKEN,
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_environment_comes_first(home: Path) -> None:
    keys = storage_keys(STORAGE, {"HOME": str(home), ID: "A", SECRET: "B", "AWS_PROFILE": "work"})
    assert keys is not None
    assert (keys.variables, keys.words(0.0), keys.warning(0.0)) == ({ID: "A", SECRET: "B"}, "S3 keys from the environment", None)


def test_a_profile_gives_keys_region_and_endpoint(home: Path) -> None:
    default = storage_keys(STORAGE, {"HOME": str(home)})
    assert default is not None
    assert (default.variables[ID], default.source, default.temporary) == ("AKIADEFAULT", "the credentials file", False)
    work = storage_keys(STORAGE, {"HOME": str(home), "AWS_PROFILE": "work"})
    assert work is not None
    assert work.variables == {
        ID: "AKIAWORK",
        SECRET: "hush2",
        TOKEN: "tok",
        "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_ENDPOINT_URL_S3": "http://minio:9000",
    }
    assert work.secrets == (ID, SECRET, TOKEN)
    assert work.words(0.0) == "S3 keys from profile 'work', the credentials file (temporary)"
    assert "hush" not in repr(work)
    told = storage_keys(STORAGE, {"HOME": str(home), "AWS_PROFILE": "work", "AWS_REGION": "here", "AWS_ENDPOINT_URL_S3": "x"})
    assert told is not None
    assert set(told.variables) == {ID, SECRET, TOKEN}


def test_temporary_keys_are_warned_about_with_their_end(home: Path) -> None:
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))
    answer = {"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "B", "SessionToken": "C", "Expiration": end}
    script = home / "keys.py"
    script.write_text(f"print({json.dumps(json.dumps(answer))})")
    with (home / ".aws" / "config").open("a") as config:
        config.write(f"[profile timed]\ncredential_process = {sys.executable} {script}\n")
    keys = storage_keys(STORAGE, {"HOME": str(home), "AWS_PROFILE": "timed"})
    assert keys is not None
    assert keys.words(time.time()) == "S3 keys from profile 'timed', a process of the profile (temporary, 2.0 h left)"
    warning = keys.warning(time.time())
    assert warning is not None
    assert "temporary and end in 2.0 h" in warning.message


@pytest.mark.parametrize("profile", ["nobody", "broken"])
def test_a_profile_that_gives_nothing_is_refused_by_name(home: Path, profile: str) -> None:
    with pytest.raises(UserError, match=f"profile '{profile}' gives no keys") as caught:
        storage_keys(STORAGE, {"HOME": str(home), "AWS_PROFILE": profile})
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED


def test_a_role_of_this_machine_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Role(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Role) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/role")
        assert storage_keys(STORAGE, {"HOME": str(tmp_path)}) is None
        server.shutdown()
    assert not asked


def test_other_storages_need_none(home: Path, tmp_path: Path) -> None:
    assert storage_keys("gs://bucket", {"HOME": str(home)}) is None
    assert storage_keys(None, {"HOME": str(home)}) is None
    assert storage_keys(STORAGE, {"HOME": str(tmp_path / "empty")}) is None
    assert with_storage_keys(None, {"A": "b"}) == {"A": "b"}


def test_another_kind_of_keys_may_be_here_when_a_run_goes_on() -> None:
    before = ["HF_TOKEN", ID, SECRET, TOKEN]
    assert renewed_names(before, STORAGE, {ID: "A", SECRET: "B"}) == ["HF_TOKEN", ID, SECRET]
    assert renewed_names(["HF_TOKEN"], STORAGE, {ID: "A", SECRET: "B", TOKEN: "C"}) == ["HF_TOKEN", ID, SECRET, TOKEN]
    # Keys that were needed and are not here are missed, not forgotten.
    assert renewed_names(before, STORAGE, {}) == ["HF_TOKEN", ID, SECRET]
    assert renewed_names(["GOOGLE"], "gs://bucket", {ID: "A"}) == ["GOOGLE"]
