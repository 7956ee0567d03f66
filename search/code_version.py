"""Which code computes the figures of a search: its commit, and a hash of each source file that decides them.

A commit alone says too much: most change a word of documentation or the look of a page. So a file is hashed
as the interpreter sees it, without comments, docstrings and layout, and only files are hashed whose change
may change a trial's figures or the search's decisions.
"""

import ast
import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_SILENT = (
    "address", "assignment", "bundled_path", "carried", "clock", "command", "data_report", "disk", "errors",
    "lead", "object_store", "repeated", "report", "times", "trace", "trial_storage", "worker", "working_copy",
)  # fmt: skip
"""Modules of `train_fn` that compute nothing: they carry, describe, measure time or hand out."""
_DECIDING = (
    "search/confirming.py", "search/even.py", "search/halving.py", "search/sampler.py", "search/stalled.py",
    "search/standing.py", "search/steps.py", "search/study.py", "search/told.py", "spaces/space.py",
)  # fmt: skip


@dataclass(frozen=True)
class CodeVersion:
    """The code of a command."""

    git_commit: str
    """Of the repository the code lies in; empty outside of one."""
    sources: Mapping[str, str]
    """Hash of each file that decides figures, by its path in the repository."""


def code_version() -> CodeVersion:
    """Return the version of the code that runs."""
    files = [*(_ROOT / "train_fn").glob("*.py"), *(_ROOT / name for name in _DECIDING)]
    sources = {
        file.relative_to(_ROOT).as_posix(): source_hash(file.read_text())
        for file in sorted(files)
        if file.stem not in _SILENT
    }
    return CodeVersion(_git_commit(), sources)


def source_hash(source: str) -> str:
    """Return a hash of what a module does: the same for another comment, docstring or layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                # A text that stands alone is documentation, wherever it stands.
                node.body = [statement for statement in node.body if not _is_text(statement)]
            case _:
                continue
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def changed_sources(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List the files that differ, that are new and that are gone."""
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _git_commit() -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), "rev-parse", "HEAD"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
