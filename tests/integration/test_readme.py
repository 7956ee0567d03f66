"""Every command of the README runs, on a user's own file and with a small budget."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.dialogues import write_real_dialogues
from tests.hub.fixture import REPO_ID, WRITE_TOKEN
from tests.hub.server import HubServer
from tests.integration.commands import REPOSITORY, SMALL

INSTALL = {
    "python -m pip install -e . && python -m search.run exp4",
    "python -m pip install -e '.[test]' && python -m pytest",
}


def commands() -> list[str]:
    text = (REPOSITORY / "README.md").read_text()
    return re.findall(r"^ {4,}((?:python|mlflow) .*)$", text, re.MULTILINE)


def test_the_two_commands_are_those_of_the_projects_own_check() -> None:
    assert set(commands()) >= INSTALL
    check = (REPOSITORY / ".ci" / "run").read_text()
    assert "python -m pip install -e '.[test]' && python -m pytest" in check
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "test" in extras


DATA = [*SMALL, "data.eval_fraction=0.2"]
SETTINGS = {
    "search.run": [*DATA, "budget.trials=2", "behaviour.prompts=4"],
    "search.trial": DATA,
    "search.data": DATA,
    "analysis.promote": [
        "promotion.confirming_seeds=0",
        "promotion.min_eval_examples=16",
        "promotion.min_ended=0",
        "promotion.max_length_ratio=100",
        "promotion.max_unbalanced=1",
    ],
}
"""What a small budget changes, and what it cannot show: nothing is confirmed, and few tokens teach little."""


def test_the_walk_from_own_dialogues_to_a_promoted_branch(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    write_real_dialogues(tmp_path / "mine.jsonl", 150)
    ran = []
    for line in commands():
        if line in INSTALL:
            continue
        words = shlex.split(line)
        if words[0] == "mlflow":
            assert words[1:3] == ["ui", "--backend-store-uri"]
            assert "127.0.0.1" in words
            continue
        module = words[2]
        small = [part for setting in SETTINGS.get(module, []) for part in ("--set", setting)]
        words = [REPO_ID if word == "org/name" else word for word in words]
        done = subprocess.run(
            [sys.executable, *words[1:4], *small, *words[4:]],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.fail(f"{line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        ran.append(module)
        if "--plan" in words and "--storage" in words:
            assert "counted on the prepared data" in done.stdout
        if module == "search.trial":
            assert "data: reading" not in done.stdout, "what the first step prepared is found"
        if "--push" in words:
            assert "MLflow: lab--model version 1 has the alias dev" in done.stdout
    assert set(ran) == {*SETTINGS, "analysis.report", "analysis.behaviour"}
    assert list(tmp_path.glob("*/exp4/summary.json"))
    assert "dev" in hub.repository(REPO_ID).refs("heads"), "the branch was promoted"
