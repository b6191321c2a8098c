"""Every command that README.md and docs/ show is run as shown, top to bottom in one shell, in a copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.train, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASKED_IN_CHAT = "What is LoRA?\n"
# The test suite cannot run itself inside itself; that make knows what it would do is what is left to check.
INSTEAD = {"make test": "make --dry-run test > /dev/null"}


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))], ids=lambda page: page.name)
def test_commands_of_the_page_work(page: Path, tmp_path: Path) -> None:
    checkout = copy_of_checkout(tmp_path / "checkout")
    if not os.environ.get("LONG_TESTS"):
        # The same run in fewer and smaller steps: past the kill at step 45, and two saves behind it.
        recipe = checkout / "examples" / "quickstart.yml"
        shorter = recipe.read_text(encoding="utf-8")
        for line, instead in (("max_steps: 150", "max_steps: 62"), ("micro_batch_size: 8", "micro_batch_size: 2")):
            assert line in shorter
            shorter = shorter.replace(line, instead)
        recipe.write_text(shorter, encoding="utf-8")
    shell = Shell(checkout, tmp_path)
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.strip() and not line.startswith("#"):
                shell.run(line)


class Shell:
    """A shell whose variables live on from command to command. The word RUN stands for the run of the demo, as the page tells its reader."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.variables = scratch / "variables.sh"
        self.variables.write_text("", encoding="utf-8")
        self.state = scratch / "state"
        self.environment = os.environ | {
            "LAUNCHER_STATE_DIR": str(self.state),
            "LAUNCHER_RUNTIME_PYTHON": sys.executable,
            "NO_COLOR": "1",
            # Pages other than README.md take it that the launcher is installed.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, command: str) -> None:
        """Run one line of the page. Raises AssertionError with what it printed when it fails."""
        line = re.sub(r"\bRUN\b", lambda _: self.first_run(), INSTEAD.get(command.strip(), command))
        script = f"source {self.variables}\n{line}\nexport -p > {self.variables}\n"
        done = subprocess.run(
            ["bash", "-Eeuo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            input=ASKED_IN_CHAT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"

    def first_run(self) -> str:
        """Name of the oldest run of this shell, which is the demo's."""
        records = [json.loads(path.read_text(encoding="utf-8")) for path in self.state.glob("runs/*/run.json")]
        return str(min(records, key=lambda record: record["created"])["run"])


def copy_of_checkout(folder: Path) -> Path:
    """What a clone of the present state would hold: tracked and new files, nothing that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return folder
