import json
import subprocess
import sys

import pytest

from search import data
from train_fn.errors import InputError


def run(storage, *arguments):
    command = [sys.executable, "-m", "search.data", "exp4", "--profile", "laptop", "--storage", str(storage)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rows = [{"input": f"what comes after {n}?", "output": f"After {n} comes {n + 1}."} for n in range(60)]
    rows.append({"input": "and now?", "output": "Это русский текст, он здесь не нужен."})
    path = tmp_path_factory.mktemp("data") / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_users_file_is_reported_as_a_table_and_as_json(tmp_path, file):
    table = run(tmp_path, "--set", f"data.sources={file}")
    assert table.returncode == 0, table.stderr
    assert "mine.jsonl:61#0" in table.stdout
    plain = run(tmp_path, "--json", "--set", f"data.sources={file}")
    report = json.loads(plain.stdout)
    assert len(report["shown"]["language"]) == 1
    assert report["read"] == 61 == report["train"] + report["eval"] + sum(report["dropped"].values())
    assert report["dropped"]["language"] == 1


@pytest.mark.parametrize("examples", ["-1", "21"])
def test_a_number_of_examples_that_is_not_kept_is_refused(tmp_path, monkeypatch, examples):
    monkeypatch.setattr(sys, "argv", ["data", "exp4", "--storage", str(tmp_path), "--examples", examples])
    with pytest.raises(InputError, match=f"--examples {examples} must be from 0 to 20"):
        data.main()


def test_json_shows_as_many_examples_as_were_asked_for(tmp_path, file):
    plain = run(tmp_path, "--json", "--examples", "0", "--set", f"data.sources={file}")
    report = json.loads(plain.stdout)
    assert set(map(len, report["shown"].values())) == {0}
    assert report["dropped"]["language"] == 1


def test_bad_data_is_one_line_and_exit_2_and_leaves_nothing(tmp_path, file):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(file.read_text() + "{broken\n")
    result = run(tmp_path / "runs", "--set", f"data.sources={broken}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "broken.jsonl:62" in result.stderr
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
