"""Which way a rented machine logs in to a storage at Azure, and what is said before it is rented when there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.backend.job import Job, settled
from launcher.backend.local.child_environment import check_secrets, training_environment
from launcher.backend.sky.client import unshown
from launcher.backend.sky.machine import SkyBackend
from launcher.plan.azure_login import check_login, login_problems
from launcher.plan.offer import Offer
from launcher.plan.storage_keys import renewed_names
from launcher.task.envelope import SEALED, unseal
from launcher.task.surroundings import secrets_for, settings_for
from runtime.checkpoint.directory import DirectoryStore
from runtime.config.load import check_text
from runtime.config.problem import ExitCode, UserError
from runtime.config.schema import TrainingConfig
from runtime.config.secrets import handed_secrets

STORAGE = "az://container/runs"
PRINCIPAL = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "canary"}
OFFER = Offer(
    cloud="azure", region="r", instance="i", gpus="8×A100", usd_per_h=1.0, spot=False, expected_usd=None, expected_h=None, verdict="ok"
)


def config(launch: str = "", storage: str = STORAGE) -> TrainingConfig:
    text = "base_model: a/b\nlearning_rate: 1e-4\ndatasets: [{path: org/rows, type: alpaca}]\n"
    checked = check_text(f"{text}launch: {{gpus: 'A100:8', storage: '{storage}', {launch}}}\n", file="r.yml")
    assert checked.config is not None, checked.errors
    return checked.config


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        (PRINCIPAL, ""),
        ({"AZURE_STORAGE_KEY": "k", "AZURE_STORAGE_ACCOUNT": "a"}, ""),
        ({"AZURE_STORAGE_CONNECTION_STRING": "k"}, ""),
        ({"AZURE_STORAGE_SAS_TOKEN": "k"}, ""),
        ({}, "secrets: [AZURE_FEDERATED_TOKEN_FILE]"),
        ({}, "secrets: [AZURE_CLIENT_CERTIFICATE_PATH]"),
    ],
)
def test_a_machine_that_is_sent_something_gets_in(environment: dict[str, str], launch: str) -> None:
    assert login_problems(config(launch).launch, environment, ()) == ([], [])


@pytest.mark.parametrize("storage", ["s3://bucket", "gs://bucket", "/folder"])
def test_other_storages_are_none_of_this(storage: str) -> None:
    assert login_problems(config(storage=storage).launch, {}, ()) == ([], [])


@pytest.mark.parametrize(
    ("launch", "offers", "warned"),
    [
        ("cloud: aws", (), False),
        ("", (), False),
        ("", (OFFER, replace(OFFER, cloud="aws")), False),
        ("", (OFFER,), True),
        ("cloud: azure", (), True),
        ("cloud: kubernetes", (), True),
        ("cloud: slurm", (), True),
    ],
)
@pytest.mark.parametrize("environment", [{}, {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_CERTIFICATE_PATH": "/here"}])
def test_a_machine_that_is_sent_nothing_is_refused_or_warned_of(
    launch: str, offers: tuple[Offer, ...], warned: bool, environment: dict[str, str]
) -> None:
    """Where it may have an identity of its own nobody can know from here whether it has; elsewhere it surely has none."""
    warnings, refusals = login_problems(config(launch).launch, environment, offers)
    assert (len(warnings), len(refusals)) == ((1, 0) if warned else (0, 1))
    (problem,) = warnings + refusals
    assert problem.code == "no-login"
    assert "`az login`" in problem.message
    assert all(name in (problem.fix or "") for name in ("Storage Blob Data Contributor", *PRINCIPAL))


def test_nothing_is_submitted_for_a_machine_that_could_not_get_in(tmp_path: Path) -> None:
    class Cloud:
        def require(self) -> None: ...

    backend = SkyBackend(state_root=tmp_path, environment={}, report=print, cloud=Cloud(), stores=lambda url: pytest.fail("opened"))  # type: ignore[arg-type]
    run = settled(config("cloud: lambda"), run="calm-otter", cwd=tmp_path)
    with pytest.raises(UserError) as caught:
        backend.submit(Job(run="calm-otter", recipe="r.yml", config=run, cwd=tmp_path))
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    assert caught.value.problems[0].code == "no-login"
    assert not list(tmp_path.iterdir())
    check_login(run.launch, PRINCIPAL, ())


def test_a_service_principal_travels_sealed_and_lies_nowhere_on_the_way(tmp_path: Path) -> None:
    told: dict[str, Any] = {}

    class Cloud:
        def require(self) -> None: ...

        def launch_cluster(self, task: str, *, secrets: dict[str, str], **rest: Any) -> int:
            (key,) = (Path(source) for target, source in yaml.safe_load(task)["file_mounts"].items() if "/keys/" in target)
            told.update(opened=unseal(secrets[SEALED], key.read_text()), said=f"{task} {secrets} {rest}")
            return 1

    backend = SkyBackend(
        state_root=tmp_path / "state",
        environment={**PRINCIPAL, "AZURE_STORAGE_ACCOUNT": "a", "AZURE_CONFIG_DIR": "/canary"},
        report=print,
        cloud=Cloud(),  # type: ignore[arg-type]
        stores=lambda url: DirectoryStore(tmp_path / "storage"),
    )
    run = settled(config("image: me/run, recovery: {machines: false}"), run="calm-otter", cwd=tmp_path)
    backend.submit(Job(run="calm-otter", recipe="r.yml", config=run, cwd=tmp_path))
    assert told["opened"] == PRINCIPAL
    assert "canary" not in told["said"]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"canary" in path.read_bytes()]


@pytest.mark.parametrize(
    ("environment", "sent"),
    [
        (PRINCIPAL, set(PRINCIPAL)),
        # Keys win, here and there: what they make needless is not handed to anybody.
        ({**PRINCIPAL, "AZURE_STORAGE_KEY": "k"}, {"AZURE_STORAGE_KEY"}),
        ({"AZURE_CLIENT_ID": "c"}, {"AZURE_CLIENT_ID"}),
        (
            {
                "AZURE_FEDERATED_TOKEN_FILE": "/here",
                "AZURE_CONFIG_DIR": "/here",
                "IDENTITY_ENDPOINT": "http://here",
                "IDENTITY_HEADER": "h",
                "MSI_SECRET": "m",
                "AZURE_TOKEN_CREDENTIALS": "AzureCliCredential",
                "AZURE_CLIENT_CERTIFICATE_PATH": "/here",
                "AZURE_PASSWORD": "p",
            },
            set(),
        ),
    ],
)
def test_what_is_sent_is_what_is_used(environment: dict[str, str], sent: set[str]) -> None:
    assert set(secrets_for(config(), environment)) == sent
    assert set(secrets_for(config(storage="s3://bucket"), environment)) == set()


def test_what_a_recipe_names_is_sent_whatever_it_is() -> None:
    named = config("secrets: [AZURE_CLIENT_SECRET, AZURE_FEDERATED_TOKEN_FILE]")
    assert set(secrets_for(named, {"AZURE_STORAGE_KEY": "k"})) == {"AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_STORAGE_KEY"}


def test_the_cloud_of_the_identity_is_a_setting_and_nothing_else_is() -> None:
    held = {**PRINCIPAL, "AZURE_AUTHORITY_HOST": "login.microsoftonline.us", "AZURE_STORAGE_ACCOUNT": "a"}
    assert set(settings_for(held)) == {"AZURE_AUTHORITY_HOST", "AZURE_STORAGE_ACCOUNT"}


def test_the_process_that_trains_finds_the_identity_of_its_machine_and_others_do_not() -> None:
    held = {**PRINCIPAL, "IDENTITY_ENDPOINT": "http://here", "IDENTITY_HEADER": "h", "AZURE_AUTHORITY_HOST": "login.microsoftonline.us"}
    given = training_environment(held, secrets=handed_secrets(config()))
    assert {name: given[name] for name in held} == held
    assert set(training_environment(held, secrets=handed_secrets(config(storage="s3://bucket")))) & set(held) == {"AZURE_AUTHORITY_HOST"}


def test_skypilot_sees_no_secret_of_a_service_principal() -> None:
    """Its client sends the variable with every request, and its server keeps requests."""
    assert unshown(PRINCIPAL, hidden=list(PRINCIPAL)) == ["AZURE_CLIENT_SECRET"]


@pytest.mark.parametrize(
    ("names", "environment", "renewed"),
    [
        (["AZURE_STORAGE_KEY", "HF_TOKEN"], PRINCIPAL, ["HF_TOKEN", *PRINCIPAL]),
        (list(PRINCIPAL), {"AZURE_STORAGE_SAS_TOKEN": "s"}, ["AZURE_STORAGE_SAS_TOKEN"]),
        (["HF_TOKEN"], PRINCIPAL, ["HF_TOKEN", *PRINCIPAL]),
        (["HF_TOKEN"], {}, ["HF_TOKEN"]),
        (["AZURE_CLIENT_ID"], {}, []),
    ],
)
def test_another_way_in_may_be_here_when_a_run_goes_on(names: list[str], environment: dict[str, str], renewed: list[str]) -> None:
    assert renewed_names(names, STORAGE, environment) == renewed


def test_a_way_in_that_has_gone_is_missed() -> None:
    names = renewed_names(list(PRINCIPAL), STORAGE, {"AZURE_TENANT_ID": "t"})
    with pytest.raises(UserError, match="AZURE_CLIENT_SECRET"):
        check_secrets(names, {"AZURE_TENANT_ID": "t"})
