import json
import time
from pathlib import Path

from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.loop import train
from train_fn.report import Outcome
from train_fn.trace import steps_needed, traced


def run(folder: Path, steps: int, max_tokens: int) -> tuple[Path, Outcome]:
    config, trace = toy_train_config(run__max_tokens=max_tokens), folder / "deep" / "trace.json"
    with traced(trace, steps) as watch:
        outcome = train(
            config, 0, toy_prepared(), toy_base(), folder, lambda _: True, time.time(), watch=watch
        )
    assert outcome is not None
    return trace, outcome


def test_a_trace_holds_its_steps_with_their_operators(tmp_path: Path) -> None:
    trace, _ = run(tmp_path, 2, 700)
    names = {event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {name for name in names if name.startswith("ProfilerStep#")} == {
        "ProfilerStep#3",
        "ProfilerStep#4",
    }
    assert any(name.startswith("Optimizer.step#") for name in names)
    assert "aten::embedding" in names, "forward"
    assert any(name.startswith("autograd::engine::evaluate_function") for name in names), "backward"
    assert trace.stat().st_size < 20e6


def test_the_steps_may_be_the_last_ones_of_a_trial_but_not_more(tmp_path: Path) -> None:
    steps = 5  # of a trial of 500 tokens
    for asked in (3, 4):
        trace, outcome = run(tmp_path / str(asked), asked, 500)
        assert outcome.steps == steps
        assert trace.is_file() == (steps >= steps_needed(asked))
