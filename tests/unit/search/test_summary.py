import dataclasses
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema
import pytest

from search.closing import closing_lines
from search.events import Ended, Event, Reported, Retried, SearchEnded
from search.faults import Cause
from search.ledger import decode, encode
from search.state import replay
from search.study import MAX_ATTEMPTS
from search.summary import (
    BestSummary,
    ConfirmationSummary,
    ConfirmedSummary,
    RetrySummary,
    Summary,
    TrialSummary,
    summarise,
    write_summary,
)
from spaces.experiment import BudgetConfig, ConfirmConfig
from tests.unit.search.recorded import (
    a_repeat,
    confirmed_search,
    evaluation,
    experiment,
    nobody_finished,
    outcome,
    report,
    search_started,
    small_search,
    to_its_end,
    trained_further,
    trial_started,
)
from train_fn.errors import InputError
from train_fn.times import PARTS, Times

STORAGE = Path("my runs")
FOLDER = STORAGE / "exp9"
SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs" / "summary.schema.json").read_text())


def check_schema(summary: Summary) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    text = json.dumps(summary, allow_nan=False)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_the_summary_of_the_small_search() -> None:
    summary = summarise(replay(small_search()), experiment(), FOLDER, {0: "run-a", 1: "run-b"})
    check_schema(summary)
    assert (summary["experiment"], summary["profile"], summary["status"]) == ("exp9", "laptop", "finished")
    assert (summary["wall_s"], summary["base_eval_nll"], summary["base_eval_nll_stderr"]) == (25.0, 4.0, 0.05)
    assert (summary["tokens_spent"], summary["tokens_saved"]) == (11_000, 5000)
    assert [t["id"] for t in summary["trials"]] == ["exp9-0000", "exp9-0001", "exp9-0002", "exp9-0003"]
    assert [t["status"] for t in summary["trials"]] == ["finished", "finished", "halved", "diverged"]
    assert [t["mlflow_run_id"] for t in summary["trials"]] == ["run-a", "run-b", None, None]
    assert summary["trials"][3]["eval_nll"] is None
    assert summary["trials"][0]["config"]["optim"]["lr"] == 0.1  # type: ignore[index]
    assert summary["best"] is not None
    assert (summary["best"]["id"], summary["best"]["eval_nll"]) == ("exp9-0001", 2.5)
    assert summary["best"]["checkpoint"] == "trials/0001"


def test_a_trial_says_what_its_time_went_into() -> None:
    events: list[Event] = [search_started(), trial_started(1001.0, 0)]
    done = dataclasses.replace(outcome(0, "finished", 4000, 2.0), times=Times(forward_s=2, step_s=1.5))
    events.append(Ended(1005.0, done))
    summary = summarise(replay(events), experiment(), FOLDER, {})
    check_schema({**summary, "status": "interrupted"})
    times = summary["trials"][0]["times"]
    assert times is not None
    assert {name: seconds for name, seconds in times.items() if seconds} == {
        "forward_s": 2, "step_s": 1.5, "other_s": 0.5,
    }  # fmt: skip
    assert SCHEMA["$defs"]["times"]["required"] == [f"{part}_s" for part in PARTS]


def test_weights_are_named_where_they_lie_now(tmp_path: Path) -> None:
    state = replay(small_search())
    here = tmp_path / "trials" / "0001"
    here.mkdir(parents=True)
    best = summarise(state, experiment(), tmp_path, {})["best"]
    assert best is not None
    assert best["checkpoint"] == str(here)


@pytest.mark.parametrize("events", [small_search()[:n] for n in (1, 2, 3, 4)])
def test_a_search_that_hardly_began_has_a_summary(events: list[Event]) -> None:
    state = replay([*events, SearchEnded(2000.0, "interrupted", 3.0)])
    check_schema(summarise(state, experiment(), FOLDER, {}))


def test_retries_and_what_was_left_out_are_told_with_their_causes() -> None:
    again = [
        Retried(1001.5, 0, cause, f"it was {cause}", 8) for cause in get_args(Cause) if cause != "config"
    ]
    events = small_search()
    summary = summarise(replay([*events[:3], *again, *events[3:]]), experiment(), FOLDER, {})
    check_schema(summary)
    assert summary["trials"][0]["retries"][0] == {"cause": "out_of_memory", "told": "it was out_of_memory"}
    assert [len(trial["retries"]) for trial in summary["trials"]] == [6, 0, 0, 0]
    assert [trial["skipped_examples"] for trial in summary["trials"]] == [48, 0, 0, 0]
    more = [
        dataclasses.replace(
            event, report=dataclasses.replace(event.report, nonfinite_examples=1 - event.report.trial % 2)
        )
        if isinstance(event, Reported)
        else event
        for event in events
    ]
    summary = summarise(replay([*more[:3], *again, *more[3:]]), experiment(), FOLDER, {})
    assert [trial["skipped_examples"] for trial in summary["trials"]] == [49, 0, 1, 0]


def test_the_summary_is_the_same_from_memory_and_from_the_ledger() -> None:
    events = small_search()
    read_back = [decode(encode(event)) for event in events]
    assert summarise(replay(events), experiment(), FOLDER, {}) == summarise(
        replay(read_back), experiment(), FOLDER, {}
    )


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (Summary, SCHEMA),
        (TrialSummary, "trial"),
        (RetrySummary, "retry"),
        (BestSummary, "best"),
        (ConfirmationSummary, "confirmation"),
        (ConfirmedSummary, "confirmed"),
    ],
)
def test_schema_and_code_name_the_same_keys(kind: type, place: Any) -> None:
    schema = SCHEMA["$defs"][place] if isinstance(place, str) else place
    assert set(schema["properties"]) == set(schema["required"]) == set(get_type_hints(kind))


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[3] / "docs" / "summary.md").read_text()
    for kind in (Summary, TrialSummary, RetrySummary, BestSummary, ConfirmationSummary, ConfirmedSummary):
        for key in get_type_hints(kind):
            assert f"`{key}`" in text, key


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("old")
    summary = summarise(replay(small_search()), experiment(), FOLDER, {})
    write_summary(path, summary)
    assert json.loads(path.read_text())["trials"][1]["id"] == "exp9-0001"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
    with pytest.raises(InputError, match="cannot write"):
        write_summary(tmp_path / "missing" / "summary.json", summary)


def test_closing_lines_say_what_won_why_and_where_to_look() -> None:
    lines = closing_lines(replay(small_search()), experiment(), STORAGE, "mlflow ui")
    assert lines == [
        "Search exp9 (laptop) finished: 4 trials (1 diverged, 2 finished, 1 halved)",
        "Best trial: exp9-0001, eval NLL 2.5000 ± 0.0500 after 4.0k tokens",
        "  lr=0.01",
        "  0.4000 ± 0.0000 nats per token below the second, exp9-0000: more than noise "
        "(2 paired standard errors)",
        "  1.5000 ± 0.0000 nats per token below the base model at 4.0000: more than noise "
        "(2 paired standard errors)",
        "  weights: trials/0001",
        "Tokens: 11.0k spent, 5.0k saved by stopping trials early",
        "Report: python -m analysis.report exp9 --storage 'my runs'",
        "Promote: python -m analysis.promote exp9 --storage 'my runs' "
        f"--to {Path.cwd().as_uri()}/my%20runs/promoted/exp9-0001",
        "Dashboard: mlflow ui",
    ]


def test_an_eval_nll_is_told_with_the_tokens_it_was_measured_after() -> None:
    lines = closing_lines(replay(trained_further()), experiment(), STORAGE, "mlflow ui")
    assert lines[1] == "Best trial: exp9-0000, eval NLL 3.5000 ± 0.0500 after 1.0k tokens"


def test_the_closing_lines_and_the_summary_say_what_other_seeds_said() -> None:
    state = replay(confirmed_search(2.51, 2.9, 2.52, 2.91))
    lines = closing_lines(state, experiment(), STORAGE, "mlflow ui")
    assert lines[0] == (
        "Search exp9 (laptop) finished: 4 trials (1 diverged, 2 finished, 1 halved), "
        "4 runs to confirm the best (4 finished)"
    )
    assert lines[3:6] == [
        "  confirmed with 2 other seeds: 2.5000, 2.5100, 2.5200, mean 2.5100 ± 0.0047",
        "  the lead of its mean over exp9-0000 exceeds the noise of seeds and examples "
        "(0.3933 against 0.0185)",
        "  1.5000 ± 0.0000 nats per token below the base model at 4.0000: more than noise "
        "(2 paired standard errors)",
    ]
    summary = summarise(state, experiment(), FOLDER, {})
    check_schema(summary)
    assert [trial["confirms"] for trial in summary["trials"]] == [None] * 4 + [1, 0, 1, 0]
    assert [trial["config"]["run"]["seed"] for trial in summary["trials"][4:]] == [1, 1, 2, 2]  # type: ignore[index]
    found = summary["confirmation"]
    assert found is not None
    assert [(one["id"], one["seeds"]) for one in found["trials"]] == [
        ("exp9-0001", [0, 1, 2]),
        ("exp9-0000", [0, 1, 2]),
    ]
    assert (found["exceeds_noise"], found["tied"], found["unstable"]) == (True, [], [])
    assert [f"  {words}" for words in found["words"]] == lines[3:5]


def test_what_is_still_to_be_confirmed_is_said() -> None:
    about = dataclasses.replace(experiment(), budget=BudgetConfig(trials=4))
    events = [*small_search()[:-1], *a_repeat(4, 1, 1, 2.5), SearchEnded(1200.0, "interrupted", 200.0)]
    assert "  not confirmed yet: 3 runs with other seeds to come" in closing_lines(
        replay(events), about, STORAGE, "x"
    )
    whole = closing_lines(replay(confirmed_search(2.51, 2.9, 2.52, 2.91)), about, STORAGE, "x")
    assert not any("not confirmed yet" in line for line in whole)


def subject(event: Event) -> int | None:
    """Return which trial an event is about."""
    match event:
        case Reported(report=one) | Ended(outcome=one):
            return one.trial
    return getattr(event, "trial", None)


def test_where_nobody_came_to_the_end_the_way_on_is_named() -> None:
    about, hint = experiment(), "the same command with --set budget.trials="
    halved = [e for e in small_search() if subject(e) not in (0, 1)]
    lines = closing_lines(replay(halved), about, STORAGE, "x")
    more = 2 * about.budget.trials
    assert f"No trial came to its end: {hint}{more} tries more" in lines
    assert not any(hint in line for line in closing_lines(replay(small_search()), about, STORAGE, "x"))
    stopped = [*halved[:-1], SearchEnded(1200.0, "interrupted", 200.0)]
    assert not any(hint in line for line in closing_lines(replay(stopped), about, STORAGE, "x"))


def test_what_is_still_to_come_to_its_end_is_said() -> None:
    about = dataclasses.replace(experiment(), budget=BudgetConfig(trials=3))
    events = [*nobody_finished(2.6, 2.4), SearchEnded(1100.0, "interrupted", 100.0)]
    told = "  no trial came to its end yet: the same command runs the best halved one there"
    assert told in closing_lines(replay(events), about, STORAGE, "x")
    done = [*events[:-1], *to_its_end(3, 1, 2.0), SearchEnded(1200.0, "finished", 200.0)]
    lines = closing_lines(replay(done), about, STORAGE, "x")
    assert told not in lines
    assert lines[1].startswith("Best trial: exp9-0003, eval NLL 2.0000")
    summary = summarise(replay(done), about, STORAGE, {})
    assert [trial["finishes"] for trial in summary["trials"]] == [None, None, None, 1]
    told = "3 trials (1 diverged, 2 halved), 1 run of halved ones to their end (1 finished)"
    assert lines[0] == f"Search exp9 (laptop) finished: {told}"
    more = dataclasses.replace(about, budget=BudgetConfig(trials=4), confirm=ConfirmConfig(top=1, seeds=1))
    assert not any("to come" in line for line in closing_lines(replay(done), more, STORAGE, "x"))


def test_a_best_trial_whose_other_seeds_all_failed_is_not_called_confirmed() -> None:
    about = dataclasses.replace(experiment(), budget=BudgetConfig(trials=3), confirm=ConfirmConfig(1, 1))
    events = [e for e in small_search()[:-1] if subject(e) != 0]  # or the next best would be asked
    for trial in range(4, 4 + MAX_ATTEMPTS):
        events += a_repeat(trial, 1, 1, None, "failed")
    lines = closing_lines(replay([*events, SearchEnded(1200.0, "finished", 200.0)]), about, STORAGE, "x")
    assert "  not confirmed: its runs with other seeds failed" in lines
    assert not any("to come" in line for line in lines)
    stopped = [*events[:-2], SearchEnded(1200.0, "interrupted", 200.0)]
    lines = closing_lines(replay(stopped), about, STORAGE, "x")
    assert not any("other seeds failed" in line for line in lines), "another attempt comes"


def test_a_tie_is_named_with_the_rule_that_decided() -> None:
    state = replay(confirmed_search(3.0, 2.6, 2.9, 2.8))
    lines = closing_lines(state, experiment(), STORAGE, "mlflow ui")
    assert any(line.startswith("Best trial: exp9-0000") for line in lines)
    (told,) = (line for line in lines if "a tie with" in line)
    assert "exp9-0001 (mean 2.8000 ± " in told
    assert told.endswith("preferred for the smaller spread over seeds")
    found = summarise(state, experiment(), FOLDER, {})["confirmation"]
    assert found is not None
    assert set(found["tied"]) == {"exp9-0000", "exp9-0001"}


def test_a_trial_that_diverged_with_another_seed_is_not_called_confirmed() -> None:
    events = [*small_search()[:-1], *a_repeat(4, 1, 1, None, "diverged"), *a_repeat(5, 0, 1, 2.9)]
    state = replay([*events, SearchEnded(1200.0, "finished", 200.0)])
    lines = closing_lines(state, experiment(), STORAGE, "mlflow ui")
    assert any(line.startswith("Best trial: exp9-0000") for line in lines)
    assert "  exp9-0001 is not confirmed: diverged with seed 1" in lines
    check_schema(summarise(state, experiment(), FOLDER, {}))


def test_a_lead_within_the_noise_is_called_that() -> None:
    events: list[Event] = [search_started()]
    for trial, spread in ((0, 0.1), (1, -0.1)):
        noisy = evaluation(2.5 + trial / 1000, spread)
        window = dataclasses.replace(report(trial, 4000, None), eval=noisy)
        events += [trial_started(1001.0, trial), Reported(1002.0, window)]
        events.append(Ended(1003.0, outcome(trial, "finished", 4000, noisy.nll)))
    lines = closing_lines(replay(events), experiment(), STORAGE, "mlflow ui")
    assert any("below the second, exp9-0001: within noise (2" in line for line in lines)


def test_without_any_sound_trial_the_lines_say_so() -> None:
    events = [e for e in small_search() if not isinstance(e, Reported)]
    events = [e for e in events if not (isinstance(e, Ended) and e.outcome.eval_nll is not None)]
    assert any(
        "No trial can be called the best" in line
        for line in closing_lines(replay(events), experiment(), STORAGE, "x")
    )
