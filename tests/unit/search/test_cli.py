from pathlib import Path

import pytest

from search import cli
from search.cli import experiment_parser, resolve
from search.cluster import Cluster, Node


def resolved(monkeypatch: pytest.MonkeyPatch, gpus: float, *arguments: str) -> tuple[str, str]:
    node = Node(cpus=8, gpus=gpus, memory_gib=64, gpu_memory_gib=80 if gpus else None, name="here")
    monkeypatch.setattr(cli, "local_machine", lambda: Cluster((node,), local=True))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    lines: list[str] = []
    args = experiment_parser("").parse_args(["exp4", "--address", "local", *arguments])
    return resolve(args, lines.append).profile, lines[0]


def test_laptop_is_taken_only_without_a_gpu_and_says_what_the_cluster_would_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile, line = resolved(monkeypatch, 0)
    assert profile == "laptop"
    assert "without a GPU" in line
    assert "48 trials of EleutherAI/gpt-j-6b" in line


def test_a_gpu_means_the_cluster_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved(monkeypatch, 4)[0] == "cluster"


def test_a_cluster_address_means_the_cluster_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    args = experiment_parser("").parse_args(["exp4", "--address", "10.0.0.1:6379"])
    lines: list[str] = []
    assert resolve(args, lines.append).profile == "cluster"
    assert "10.0.0.1:6379" in lines[0]


def test_the_user_decides_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved(monkeypatch, 0, "--profile", "cluster")[0] == "cluster"
    assert resolved(monkeypatch, 4, "--profile", "laptop")[0] == "laptop"


def accelerator(monkeypatch: pytest.MonkeyPatch, address: str) -> str | None:
    node = Node(cpus=8, gpus=0, memory_gib=64, gpu_memory_gib=None, name="here")
    monkeypatch.setattr(cli, "local_machine", lambda: Cluster((node,), local=True))
    environment: dict[str, str] = {}
    monkeypatch.setattr(cli.os, "environ", environment)
    cli.prepare_environment(address)
    return environment.get("DS_ACCELERATOR")


def test_a_head_without_a_gpu_does_not_keep_its_workers_from_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accelerator(monkeypatch, "") == "cpu"
    assert accelerator(monkeypatch, "10.0.0.1:6379") is None


def test_the_token_of_a_dashboard_is_used_when_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for token, mode in ((tmp_path / "none", None), (tmp_path / "token", "token")):
        environment: dict[str, str] = {}
        monkeypatch.setattr(cli.os, "environ", environment)
        monkeypatch.setattr(cli, "TOKEN", token)
        (tmp_path / "token").write_text("secret")
        cli.prepare_environment("http://127.0.0.1:8265")
        assert environment.get("RAY_AUTH_MODE") == mode
