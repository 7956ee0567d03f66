"""Every command of the README runs, on a user's own file and with a small budget."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def test_the_walk_from_own_dialogues_to_the_best_trial(own_dialogues: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(own_dialogues.read_text())
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
        settings = [*SMALL, "data.clean.near_duplicates=false"] if module.startswith("search.") else []
        settings += ["budget.trials=2"] if module == "search.run" else []
        small = [part for setting in settings for part in ("--set", setting)]
        done = subprocess.run(
            [sys.executable, *words[1:4], *small, *words[4:]],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.fail(f"{line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        ran.append(module)
    assert set(ran) == {"search.data", "search.run", "search.trial", "analysis.report"}
    assert list(tmp_path.glob("*/exp4/summary.json"))
