from dataclasses import replace
from pathlib import Path

import pytest

from search.draft import BATCH_PATH
from search.trial import MAX_TRACED_STEPS, check_batch, check_trace, trace_steps
from spaces import exp4
from spaces.override import override
from tests.toys import TOY_REPORT
from tests.unit.search.recorded import outcome
from train_fn.errors import InputError


@pytest.mark.parametrize("text", ["0", "-1", "+3", "21", "many", "1.5", "", " 3", "١٢", "9" * 5000])
def test_a_trace_of_an_odd_number_of_steps_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"must be a whole number of optimizer steps from 1 to 20; give"):
        trace_steps(text)


def test_a_step_larger_than_the_data_or_the_budget_is_refused() -> None:
    report = replace(TOY_REPORT, read=1_010, train=1_000, eval=10, dropped={}, train_tokens=50_000)
    laptop = exp4.experiment("laptop")  # whose space holds larger steps than its base takes
    check_batch(override(laptop, ["run.max_tokens=3000"]), report)
    for settings, told in (
        (
            [f"{BATCH_PATH}=1000000"],
            "= 1000000 is more than the 1,000 training examples; lower the batch size, or",
        ),
        (
            [f"{BATCH_PATH}=500", "run.max_tokens=20000"],
            "= 500 makes a step of about 25,000 tokens, more than run.max_tokens = 20,000; lower the batch",
        ),
    ):
        with pytest.raises(InputError, match=told):
            check_batch(override(laptop, settings), report)


def test_a_trace_takes_a_few_steps() -> None:
    assert [trace_steps(str(steps)) for steps in (1, 3, MAX_TRACED_STEPS)] == [1, 3, MAX_TRACED_STEPS]


def test_a_trial_too_short_for_its_trace_says_how_many_steps_are_needed(tmp_path: Path) -> None:
    short = replace(outcome(0, "finished", 400, 2.0), steps=4)
    with pytest.raises(
        InputError, match="--trace 3 needs a trial of 5 optimizer steps, and this one took 4; raise"
    ):
        check_trace(tmp_path / "trace.json", 3, short)
    (tmp_path / "trace.json").touch()
    check_trace(tmp_path / "trace.json", 3, short)
