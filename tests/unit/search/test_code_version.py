import ast
from pathlib import Path

from search.code_version import changed_sources, code_version, source_hash

SOURCE = '''"""A module."""

RATE = 0.9
"""Of decay."""


def decay(value: float) -> float:
    """Return less."""
    return RATE * value  # of what there was
'''


def test_words_and_layout_leave_the_hash_as_it_is() -> None:
    said_otherwise = SOURCE.replace("A module.", "Decay.").replace("Of decay.", "Per step.")
    assert source_hash(said_otherwise.replace("  # of what there was", "\n")) == source_hash(SOURCE)


def test_another_number_or_operator_changes_the_hash() -> None:
    assert source_hash(SOURCE.replace("0.9", "0.8")) != source_hash(SOURCE)
    assert source_hash(SOURCE.replace("RATE * value", "RATE + value")) != source_hash(SOURCE)


def test_what_trains_and_decides_is_in_the_version_and_what_shows_is_not() -> None:
    sources = code_version().sources
    assert {"train_fn/loss.py", "train_fn/engine.py", "search/halving.py", "search/study.py"} <= set(sources)
    assert not {"search/progress.py", "train_fn/worker.py", "search/summary.py"} & set(sources)


def test_what_the_deciding_modules_import_of_the_search_decides_too() -> None:
    keeps = {
        "search/journal.py",
        "search/state.py",
        "search/trial_state.py",
    }  # and replay, but decide nothing
    root, known, left = Path(__file__).parents[3], set(), ["sampler", "scheduler", "confirming"]
    while left:
        path = f"search/{left.pop()}.py"
        if path not in known | keeps:
            known.add(path)
            tree = ast.parse((root / path).read_text())
            froms = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            left += [module.removeprefix("search.") for module in froms if module.startswith("search.")]
    assert known - {"search/scheduler.py"} == {
        path for path in code_version().sources if path.startswith("search/")
    }


def test_new_and_lost_files_are_changes() -> None:
    assert changed_sources({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == ["a", "c"]
