import json
import subprocess
import sys
from importlib import import_module

import pytest

from launcher.cli.app import COMMANDS, main


def launcher(*arguments, code="from launcher.cli.app import main; main()"):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_every_command_has_its_function():
    for command in COMMANDS:
        function = getattr(import_module(command.module), command.name)
        assert function.__doc__, command.name


def test_help_names_every_command_with_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for command in COMMANDS:
        assert f"{command.name} " in printed
        assert command.summary in printed


def test_help_imports_nothing_heavy():
    code = "import sys\nfrom launcher.cli.app import main\ntry:\n    main(['--help'])\nfinally:\n    print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    loaded = launcher(code=code).stderr
    for heavy in ("pydantic", "rich", "yaml", "ruamel", "plotext", "matplotlib", "psutil", "numpy", "torch"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize(
    "command", ["up", "ps", "status", "logs", "metrics", "stop", "resume", "down", "doctor", "pull", "merge", "chat", "evaluate", "publish"]
)
def test_each_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"launcher {command}" in capsys.readouterr().out


def test_a_wrong_option_is_a_usage_error_without_a_traceback(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["ps", "--frobnicate"])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert "frobnicate" in printed.err
    assert "launcher ps --help" in printed.err
    assert printed.out == ""


def test_errors_are_one_json_object_too(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LAUNCHER_STATE_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["status", "nothing", "--json"])
    assert ended.value.code == 2
    printed = json.loads(capsys.readouterr().out)
    assert (printed["schema"], printed["ok"], printed["data"]) == ("launcher.status/1", False, None)
    assert printed["error"]["code"] == "unknown-run"
    assert printed["error"]["problems"][0]["fix"]


def test_a_defect_is_one_line_and_how_to_report_it(capsys, monkeypatch):
    import launcher.cli.ps

    def broken():
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(launcher.cli.ps, "ps", broken)
    monkeypatch.delenv("LAUNCHER_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["ps"])
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert "ZeroDivisionError: by design" in printed
    assert "LAUNCHER_DEBUG=1" in printed
    assert "Traceback" not in printed
    monkeypatch.setenv("LAUNCHER_DEBUG", "1")
    with pytest.raises(SystemExit):
        main(["ps"])
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_before_submission_is_130(capsys, monkeypatch):
    import launcher.cli.ps

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher.cli.ps, "ps", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["ps"])
    assert ended.value.code == 130


def test_a_closed_pipe_is_no_traceback():
    finished = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m launcher --help | true"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in finished.stderr


def test_version():
    assert launcher("--version").stdout.startswith("launcher 0.")
