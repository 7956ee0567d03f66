"""A trial that is killed and taken up again is, bit for bit, the trial that was never disturbed."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from deepspeed.accelerator import get_accelerator

from tests.invariance.killed import run_to_the_end, run_with_a_full_disk
from tests.toys import toy_prepared
from train_fn.batches import Order
from train_fn.checkpoint_files import complete_folders

BASE: dict[str, Any] = {
    "optim__schedule": "cosine",
    "optim__warmup_tokens": 300,
    "run__window_tokens": 250,
    "run__eval_at_tokens": (1000,),
}
OFTEN: dict[str, Any] = {"run__max_lost_minutes": 1e-6}
"""A checkpoint at every window border at which none is being written."""
LORA: dict[str, Any] = {"model__lora": {"rank": 2, "dropout": 0.2, "targets": ["query_key_value"]}}
QUICK: list[tuple[int, dict[str, Any]]] = [
    (1, {"engine__zero_stage": 0} | LORA),
    (2, {"engine__zero_stage": 1}),
    (2, {"engine__zero_stage": 3, "engine__precision": "bf16"}),
]
MATRIX: list[tuple[int, dict[str, Any]]] = [
    (ranks, {"engine__zero_stage": stage, "engine__precision": precision} | adapters)
    for ranks in (1, 2)
    for precision in ("fp32", "bf16", "fp16")
    for stage in (0, 1, 2, 3)
    for adapters in ({}, LORA)
    if precision == "fp32" or stage > 0
]


def check_killed_is_undisturbed(folder: Path, ranks: int, changes: dict[str, Any], kills: int) -> None:
    dice = random.Random(f"{ranks} {changes}")
    whole = run_to_the_end(folder / "whole", ranks, BASE | changes, ())
    kill_steps = tuple(dice.randint(3, 14 // kills) for _ in range(kills))
    parts = run_to_the_end(folder / "parts", ranks, BASE | OFTEN | changes, kill_steps)
    assert parts.starts[0] < parts.starts[1], "it goes on from a checkpoint"
    assert parts.starts == sorted(parts.starts)
    assert parts.reports == whole.reports
    assert parts.outcome == whole.outcome
    assert parts.weights == whole.weights


@pytest.mark.parametrize(("ranks", "changes"), QUICK, ids=str)
def test_killed_in_a_random_step_nothing_differs(tmp_path: Path, ranks: int, changes: dict[str, Any]) -> None:
    check_killed_is_undisturbed(tmp_path, ranks, changes, kills=1)


def test_one_ranks_full_disk_ends_the_trial_on_all_ranks_and_no_checkpoint_counts(tmp_path: Path) -> None:
    told = run_with_a_full_disk(tmp_path / "full", 2, BASE | OFTEN | {"engine__zero_stage": 1})
    assert told[0] == told[1]
    assert "cannot be written" in told[0]
    assert not complete_folders(tmp_path / "full" / "workspace")


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_ranks_agree_on_what_spoils_a_step_and_remember_it(tmp_path: Path, stage: int) -> None:
    order = Order(toy_prepared().train.sources, (), 0)
    place = 8 * (1, 6, 6, 1)[stage]  # in the first window, so that a checkpoint knows of it; or later
    culprits = [int(order.take(place, 8)[k]) for k in (1, 6)]
    changes = {"engine__zero_stage": stage, "run__max_tokens": 4000, "poisoned": culprits}
    check_killed_is_undisturbed(tmp_path, 2, changes, kills=1)
    for run in ("whole", "parts"):
        file = tmp_path / run / "workspace" / "skipped_examples.jsonl"
        named = [json.loads(line) for line in file.read_text().splitlines()]
        assert named == [{"id": f"toy:{culprit}", "window": place} for culprit in sorted(culprits)]
    alone = run_to_the_end(tmp_path / "alone", 1, BASE | changes, ())
    told = json.loads((tmp_path / "whole" / "outcome.json").read_text())
    assert (alone.outcome["tokens_seen"], alone.outcome["steps"]) == (told["tokens_seen"], told["steps"])
    assert alone.outcome["eval_nll"] == pytest.approx(told["eval_nll"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "changes"), MATRIX, ids=str)
def test_killed_twice_nothing_differs(tmp_path: Path, ranks: int, changes: dict[str, Any]) -> None:
    if changes["engine__precision"] == "fp16" and not get_accelerator().is_fp16_supported():
        pytest.skip("this CPU does not compute fp16")
    # A dozen overflows at the start: the loss scale and the count of skipped steps are worth something.
    scale = {"engine__initial_scale_power": 24, "run__max_tokens": 4000, "engine__loss_scale_window": 4}
    more = scale if changes["engine__precision"] == "fp16" else {}
    check_killed_is_undisturbed(tmp_path, ranks, changes | more, kills=2)
