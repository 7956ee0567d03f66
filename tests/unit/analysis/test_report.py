import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
from analysis import report
from analysis.behaviour_records import (
    FIGURES,
    Behaviour,
    Estimate,
    Exchange,
    Listened,
    write_listened,
)
from analysis.rank import answer
from analysis.runs import read_search
from spaces.promotion import BehaviourConfig
from tests.full_disk import files_of_at_most
from tests.unit.analysis.written import keep_lines
from train_fn.command import run_command
from train_fn.errors import InputError

HEAVY = ("ray", "torch", "deepspeed", "mlflow", "optuna", "bokeh", "numpy", "transformers")
WITH_TORCH = ("plain_model", "package")
"""Modules that others import inside functions only."""
MODULES = sorted(Path(analysis.__file__).parent.glob("*.py"))


def copy(storage: Path, tmp_path: Path, name: str = "exp9") -> Path:
    return Path(shutil.copytree(storage / "exp9", tmp_path / name))


def test_one_command_prints_the_table_and_writes_the_page(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(storage, tmp_path)
    assert report.main(["exp9", "--storage", str(tmp_path), "--no-mlflow"]) == 0
    out = capsys.readouterr().out
    assert " is the best: eval NLL " in out
    assert f"page: {folder / 'report.html'}" in out
    assert "MLflow" not in out
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_behaviour_that_was_measured_is_on_the_page_and_one_line_of_the_table(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(storage, tmp_path)
    words = ["exp9", "--storage", str(tmp_path), "--no-mlflow"]
    report.main(words)
    plain = " ".join(capsys.readouterr().out.split())
    assert f"behaviour: not measured; `python -m analysis.behaviour exp9 --storage {tmp_path}`" in plain
    best = answer(read_search(tmp_path, "exp9")).best
    assert best is not None
    figures = dict.fromkeys(FIGURES) | {"leaked": Estimate(0.5, 0.25, 0.75, 1)}
    spoken = Behaviour(best.id, "folder", "key", figures, (Exchange("a:1#0", "hi", "yes", "maybe", "no"),))
    write_listened(folder, Listened(BehaviourConfig(), "data-1", (spoken,)))
    report.main(words)
    assert f"behaviour: {best.id}: leaked markers 50%" in capsys.readouterr().out
    assert "25% to 75%" in (folder / "report.html").read_text()


def test_the_page_can_go_elsewhere_and_mlflow_that_is_not_there_is_one_line(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert report.main(["exp9", "--storage", str(storage), "--html", str(page)]) == 0
    assert page.exists()
    assert not (storage / "exp9" / "report.html").exists()
    assert capsys.readouterr().out.splitlines()[-1].startswith("MLflow: not logged, ")


@pytest.mark.parametrize("words", [["exp9", "--compare", "exp8"], ["--compare", "exp9", "exp8"]])
def test_several_searches_are_compared(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    copy(storage, tmp_path)
    copy(storage, tmp_path, "exp8")
    assert report.main([*words, "--storage", str(tmp_path), "--no-mlflow"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("exp9 ")
    assert "behind the first" in out
    assert (tmp_path / "exp9" / "report.html").exists()


def test_a_search_that_still_runs_is_reported_and_called_so(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(storage, tmp_path)
    keep_lines(folder, 40)
    (folder / "data_report.json").unlink()
    assert report.main(["exp9", "--storage", str(tmp_path), "--no-mlflow"]) == 0
    assert "note: The search has not ended" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("lines", "words"), [(0, "has not begun yet"), (2, "has no figures of any trial"), (4, "has no figures")]
)
def test_a_search_without_figures_is_refused(storage: Path, tmp_path: Path, lines: int, words: str) -> None:
    keep_lines(copy(storage, tmp_path), lines)
    with pytest.raises(InputError, match=words):
        report.main(["exp9", "--storage", str(tmp_path)])


def test_a_page_that_cannot_be_written_is_refused(storage: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "page.html"
    with pytest.raises(InputError, match=r"cannot write .*; give --html another file"):
        report.main(["exp9", "--storage", str(storage), "--html", str(missing), "--no-mlflow"])


@pytest.mark.parametrize("place", [".", "/", "", "..", "folder"])
def test_a_page_needs_a_file(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        InputError, match=r"^--html '.+' is a folder; give a file, for example --html page.html$"
    ):
        report.main(["exp9", "--storage", str(storage), "--no-mlflow", "--html", place])
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_a_full_disk_leaves_the_page_that_was_there(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    page.write_text("the old one")
    with (
        files_of_at_most(10_000),
        pytest.raises(InputError, match=r"cannot write .*: File too large; give --html"),
    ):
        report.main(["exp9", "--storage", str(storage), "--html", str(page), "--no-mlflow"])
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert page.read_text() == "the old one"


@pytest.mark.parametrize(("words", "told"), [(["exp5"], "no search 'exp5'"), ([], "no search was named")])
def test_bad_input_is_one_line_and_exit_code_2(
    storage: Path,
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", *words, "--storage", str(storage)])
    with pytest.raises(SystemExit) as exit:
        run_command(report.main)
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {told}")
    assert error.count("\n") == 1


def test_the_table_needs_nothing_heavy() -> None:
    code = (
        "import sys; import analysis.report, analysis.table, analysis.publish; "
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_here_knows_the_search(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        forbidden = {"search", "ray", "deepspeed"}
        forbidden |= set() if path.stem in WITH_TORCH else {"torch", "transformers", "safetensors"}
        assert not {name.partition(".")[0] for name in names} & forbidden


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_needs_torch_is_imported_inside_functions_only(path: Path) -> None:
    """At the top of a module it would make every command wait for torch."""
    heavy = {f"analysis.{name}" for name in WITH_TORCH}
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        assert path.stem in WITH_TORCH or not set(names) & heavy
