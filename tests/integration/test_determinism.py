"""The same search twice is the same search."""

from pathlib import Path

import pytest

from tests.integration.commands import run


def test_one_slot_and_one_seed_give_the_same_search_twice(
    own_dialogues: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = (
        f"data.sources={own_dialogues}",
        "data.clean.near_duplicates=false",
        "budget.trials=4",
        "resources.slots=1",
    )
    seen = []
    for name in ("first", "second"):
        summary = run(tmp_path_factory.mktemp(name), *settings)
        seen.append(
            [(t["number"], t["status"], t["config"]["optim"]["lr"], t["eval_nll"]) for t in summary["trials"]]
        )
    assert seen[0] == seen[1]
