"""The environment a training process gets: what it needs to work, and the secrets the recipe names, by name."""

# ruff: noqa: SIM905 - a list of words reads better as words

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from runtime.config.problem import ExitCode, Problem, UserError

_NAMES = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TMP TEMP TERM COLUMNS NO_COLOR HOSTNAME LD_LIBRARY_PATH DYLD_LIBRARY_PATH CC CXX CUDA_HOME "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy "
    "TOKENIZERS_PARALLELISM HF_TOKEN_PATH LAUNCHER_DEBUG LAUNCHER_PREEMPTION LAUNCHER_METADATA_ENDPOINT LAUNCHER_PREEMPTION_H LAUNCHER_NODES LAUNCHER_NODE_RANK LAUNCHER_HEAD "
    "AZURE_STORAGE_ACCOUNT AZURE_AUTHORITY_HOST STORAGE_EMULATOR_HOST GOOGLE_CLOUD_PROJECT".split()
)
_PREFIXES = tuple(
    "LC_ XDG_ CUDA NVIDIA_ NCCL_ GLOO_ ROCR_ HIP_ OMP_ MKL_ OPENBLAS_ KMP_ GOMP_ TORCH TORCHINDUCTOR_ PYTORCH_ TRITON_ TRANSFORMERS_ HF_ HUGGINGFACE_ DATASETS_ ACCELERATE_ FSDP_ "
    "DEEPSPEED_ DS_ BNB_ BITSANDBYTES_ WANDB_ MLFLOW_ COMET_ TRACKIO_ SWANLAB_ TENSORBOARD_ AWS_ CLOUDSDK_ GCE_METADATA_".split()
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE")


def training_environment(
    parent: Mapping[str, str], *, secrets: Sequence[str], python: Path | None = None, runtime_path: Path | None = None
) -> dict[str, str]:
    """The variables of `parent` a training process may see, with the secrets it was promised.

    Everything else stays behind, and so does anything that looks like a secret and was not named. `runtime_path` holds the runtime package and
    nothing else; the interpreter's own tools come first on PATH.
    """
    environment = {name: value for name, value in parent.items() if _passes(name)}
    environment |= {name: parent[name] for name in secrets if name in parent}
    environment["PYTHONUNBUFFERED"] = "1"
    # Keeps the working folder off the import path: a recipe's neighbour called `datasets` must not replace the library.
    environment["PYTHONSAFEPATH"] = "1"
    if runtime_path is not None:
        environment["PYTHONPATH"] = str(runtime_path)
    if python is not None and python.parent != Path():
        environment["PATH"] = f"{python.parent}:{environment.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"
    return environment


def attempt_variables(*, run: str, run_dir: Path, attempt: int, chaos: Iterable[str], grace_s: float) -> dict[str, str]:
    """What one attempt of a run tells its training process."""
    variables = {
        "LAUNCHER_RUN": run,
        "LAUNCHER_RUN_DIR": str(run_dir),
        "LAUNCHER_ATTEMPT": str(attempt),
        "LAUNCHER_GRACE_S": f"{grace_s:g}",
    }
    if items := ",".join(chaos):
        variables["LAUNCHER_CHAOS"] = items
    return variables


def check_secrets(secrets: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raise UserError (exit 8) naming every secret that the environment does not hold."""
    missing = [name for name in secrets if not environment.get(name)]
    if missing:
        raise UserError(
            [
                Problem(
                    code="missing-secret",
                    path="launch.secrets",
                    message=f"the environment variable {name} is not set",
                    fix=f"export {name}=… in this shell, or take {name} out of launch.secrets",
                )
                for name in missing
            ],
            exit_code=ExitCode.REMOTE_REFUSED,
        )


def _passes(name: str) -> bool:
    if name in _NAMES:
        return True
    return name.startswith(_PREFIXES) and not _SECRET.search(name)
