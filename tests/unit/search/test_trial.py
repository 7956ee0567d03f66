from dataclasses import replace
from pathlib import Path

import pytest

from search.trial import MAX_TRACED_STEPS, check_trace, trace_steps
from tests.unit.search.recorded import outcome
from train_fn.errors import InputError


@pytest.mark.parametrize("text", ["0", "-1", "+3", "21", "many", "1.5", "", " 3", "١٢", "9" * 5000])
def test_a_trace_of_an_odd_number_of_steps_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"must be a whole number of optimizer steps from 1 to 20; give"):
        trace_steps(text)


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
