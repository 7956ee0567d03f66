"""Steps whose gradient is not finite, on one rank."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from tests.poisoned import poisoned_base, poisoned_prepared
from tests.toys import toy_base, toy_train_config
from train_fn.batches import Order
from train_fn.config import LoraConfig
from train_fn.loop import train
from train_fn.report import Outcome, Report
from train_fn.stepping import MAX_CULPRITS

ORDER = Order(poisoned_prepared(()).train.sources, (), 0)
PLACE = 24
STEP = [int(example) for example in ORDER.take(PLACE, 8)]
Ran = tuple[Outcome, list[Report]]


def run(
    folder: Path,
    culprits: list[int],
    value: float = math.nan,
    stop: int = 10**9,
    skip: tuple[int, ...] = (),
    **changes: Any,
) -> Ran:
    reports: list[Report] = []

    def emit(report: Report) -> bool:
        reports.append(report)
        return len(reports) < stop

    config, base = toy_train_config(**changes), poisoned_base(value)
    outcome = train(config, 7, poisoned_prepared(culprits), base, folder, emit, time.time(), skip)
    return outcome, reports  # type: ignore[return-value]


def named(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "skipped_examples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "changes",
    [
        *({"engine__zero_stage": stage} for stage in range(4)),
        {"engine__zero_stage": 1, "engine__precision": "bf16"},
        pytest.param({"engine__zero_stage": 3, "engine__precision": "bf16"}, marks=pytest.mark.slow),
        pytest.param({"engine__zero_stage": 3, "model__lora": LoraConfig(rank=2)}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_one_example_with_a_broken_embedding_is_left_out_and_named(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    outcome, reports = run(tmp_path, [STEP[3]], run__max_tokens=4000, **changes)
    assert outcome.status == "finished"
    assert named(tmp_path) == [{"id": f"toy:{STEP[3]}", "window": PLACE}]
    assert outcome.overflow_steps == 0
    assert reports[0].nonfinite_examples == 1
    order = ORDER.take(0, 8 * outcome.steps)
    lengths = poisoned_prepared(()).train.lengths
    assert outcome.steps > len(ORDER.take(0, 200)) // 8, "it comes again in the second epoch"
    assert outcome.tokens_seen == int(lengths[order[order != STEP[3]]].sum())
    assert sum(len(report.points) for report in reports) == outcome.steps, "every step has a finite loss"


def test_two_culprits_and_an_infinite_one_are_found_as_well(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, [STEP[0], STEP[7]], math.inf)
    assert outcome.status == "finished"
    assert {line["id"] for line in named(tmp_path)} == {f"toy:{STEP[0]}", f"toy:{STEP[7]}"}


def test_a_step_that_cannot_be_separated_is_discarded_and_the_trial_goes_on(tmp_path: Path) -> None:
    outcome, reports = run(tmp_path, STEP)
    assert outcome.status == "finished"
    assert not (tmp_path / "skipped_examples.jsonl").exists()
    assert sum(len(report.points) for report in reports) == outcome.steps - 1
    assert outcome.overflow_steps == 0


def test_a_window_of_discarded_steps_alone_is_no_end(tmp_path: Path) -> None:
    outcome, reports = run(tmp_path, STEP, run__window_tokens=10)
    assert outcome.status == "finished"
    assert [r.window_steps for r in reports].count(2) == 1, "the step goes with the one after it"
    assert sum(r.window_steps for r in reports) == len(reports) + 1 == outcome.steps


def test_broken_weights_are_no_examples_fault(tmp_path: Path) -> None:
    prepared, base = poisoned_prepared(()), toy_base()
    base.state["gpt_neox.embed_in.weight"].fill_(math.nan)
    outcome = train(toy_train_config(), 7, prepared, base, tmp_path, lambda _: True, time.time())
    assert outcome is not None
    assert outcome.status == "diverged"
    assert not (tmp_path / "skipped_examples.jsonl").exists()


def test_after_some_culprits_no_more_are_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [int(ORDER.take(8 * k, 8)[k % 8]) for k in range(0, 24, 2)]
    _, reports = run(tmp_path, many)
    assert len(named(tmp_path)) == MAX_CULPRITS
    assert reports[-1].nonfinite_examples == MAX_CULPRITS
    assert "no more are looked for" in capsys.readouterr().out


def test_a_trial_taken_up_again_still_knows_its_culprits(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"run__eval_at_tokens": (800,), "run__max_tokens": 4000}
    whole, reports = run(tmp_path / "whole", [STEP[3]], **changes)
    gone, before = run(tmp_path / "parts", [STEP[3]], math.nan, 3, **changes)
    assert gone is None
    assert any(report.eval is not None for report in before)
    (tmp_path / "parts" / "skipped_examples.jsonl").unlink()
    again, rest = run(tmp_path / "parts", [STEP[3]], **changes)
    assert named(tmp_path / "parts") == named(tmp_path / "whole")
    assert (again.tokens_seen, again.steps, again.eval_nll) == (
        whole.tokens_seen,
        whole.steps,
        whole.eval_nll,
    )
    assert [r.points for r in rest] == [r.points for r in reports[-len(rest) :]]


def test_steps_that_are_left_out_are_named_before_the_examples(tmp_path: Path) -> None:
    prepared, toys = poisoned_prepared([STEP[3]]), poisoned_base()
    train(toy_train_config(), 7, prepared, toys, tmp_path, lambda _: True, time.time(), skip=(8,))
    window = [{"id": f"toy:{example}", "window": 8} for example in ORDER.take(8, 8)]
    assert named(tmp_path) == [*window, {"id": f"toy:{STEP[3]}", "window": PLACE}]


def test_the_next_command_still_names_the_steps_that_were_left_out(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"run__eval_at_tokens": (800,), "run__max_tokens": 4000}
    whole, _ = run(tmp_path / "whole", [STEP[3]], skip=(8,), **changes)
    gone, before = run(tmp_path / "parts", [STEP[3]], stop=3, skip=(8,), **changes)
    assert gone is None
    assert any(report.eval is not None for report in before)
    again, _ = run(tmp_path / "parts", [STEP[3]], **changes)
    assert len(named(tmp_path / "whole")) == 9
    assert named(tmp_path / "parts") == named(tmp_path / "whole")
    assert (again.tokens_seen, again.eval_nll) == (whole.tokens_seen, whole.eval_nll)
