"""Who may import whom, and how light each package stays."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ALLOWED = {
    "train_fn": {"train_fn"},
    "spaces": {"spaces", "train_fn"},
    "search": {"search", "spaces", "train_fn"},
    "analysis": {"analysis", "spaces", "train_fn"},
}
HEAVY = {"torch", "ray", "deepspeed", "transformers", "mlflow", "datasets"}


def modules(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package: str) -> None:
    for file in modules(package):
        ours = {name.split(".")[0] for name in imported(file)} & set(ALLOWED)
        assert ours <= ALLOWED[package], f"{file.relative_to(REPOSITORY)} imports {ours - ALLOWED[package]}"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_modules_stay_readable(package: str) -> None:
    long = {f.name: n for f in modules(package) if (n := len(f.read_text().splitlines())) > 300}
    assert not long


def loaded(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import search.run",
        "import search.plan, search.plan_text",
        "import spaces.load, spaces.override, spaces.exp4",
        "import train_fn.config, train_fn.report, train_fn.curve, train_fn.doom",
        "import analysis.report",
        "import analysis.behaviour, analysis.behaviour_figures, analysis.behaviour_table, analysis.held_out",
    ],
)
def test_what_a_laptop_reads_in_a_second_loads_nothing_heavy(statement: str) -> None:
    assert not loaded(statement) & HEAVY


def test_analysis_never_loads_the_search() -> None:
    assert "search" not in loaded("import analysis.report, analysis.behaviour")


def test_the_driver_of_a_search_needs_no_torch() -> None:
    assert not loaded("import search.session") & {"torch", "deepspeed", "transformers"}


def test_init_files_are_empty() -> None:
    for package in ALLOWED:
        for file in (REPOSITORY / package).rglob("__init__.py"):
            assert not file.read_text(), file
