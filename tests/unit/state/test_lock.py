import os
import subprocess
import sys

from launcher.state.lock import is_held, take


def test_a_lock_is_held_until_its_descriptor_closes(tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    descriptor = take(path)
    assert is_held(path)
    assert take(path, patience_s=0.05) is None
    os.close(descriptor)
    assert not is_held(path)


def test_a_lock_can_be_handed_to_a_child_and_ends_with_it(tmp_path):
    path = tmp_path / "lock"
    descriptor = take(path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
    os.close(descriptor)
    assert is_held(path)
    child.kill()
    child.wait()
    assert not is_held(path)
