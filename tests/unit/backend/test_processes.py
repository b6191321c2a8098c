import subprocess
import sys

from launcher.backend.local.processes import end_group, group_members, kill_group, start_time

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


def started(code: str) -> tuple[subprocess.Popen, float]:
    process = subprocess.Popen([sys.executable, "-c", code], process_group=0, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process, start_time(process.pid)


def test_a_polite_group_ends_within_its_grace():
    process, began = started("import time; print('ready', flush=True); time.sleep(60)")
    assert group_members(process.pid, began) == [process.pid]
    assert end_group(process.pid, began, grace_s=10) is True
    assert process.wait(5) == -15


def test_a_deaf_group_is_killed_after_its_grace():
    process, began = started(DEAF)
    assert end_group(process.pid, began, grace_s=0.2) is False
    assert process.wait(5) == -9
    assert group_members(process.pid, began) == []


def test_members_that_outlive_their_leader_are_found_and_killed():
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); print('ready', flush=True); sys.stdin.close()"
    process = subprocess.Popen([sys.executable, "-c", code], process_group=0, stdout=subprocess.PIPE)
    process.stdout.readline()
    began = start_time(process.pid)
    process.stdout.readline()
    process.wait(5)
    assert len(group_members(process.pid, began)) == 1
    kill_group(process.pid, began)
    assert group_members(process.pid, began) == []


def test_a_pid_that_was_given_to_somebody_else_is_left_alone():
    process, began = started("import time; print('ready', flush=True); time.sleep(60)")
    try:
        assert group_members(process.pid, began - 1000) == []
        assert end_group(process.pid, began - 1000, grace_s=0) is True
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_nothing_is_found_where_nothing_was():
    assert group_members(None, None) == []
    assert start_time(2**22 - 1) is None
