from dataclasses import replace

from search.description import MAX_REASON_CHARS, STOPPED_SHOWN, Links, describe_search
from search.events import Ended, Event, Reported
from search.state import SearchState, replay
from tests.unit.search.recorded import (
    confirmed_search,
    experiment,
    outcome,
    report,
    search_started,
    small_search,
    trained_further,
    trial_started,
)

LINKS = Links("#/trials", "#/report", {0: "#/runs/a", 1: "#/runs/b"})


def described(events: list[Event]) -> str:
    return describe_search(experiment(), replay(events), LINKS)


def cells(text: str, first: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.replace("&nbsp;", "").strip() for cell in line.strip("|").split(" | ")]


def test_the_answer_comes_first_and_fits_where_mlflow_folds_the_text() -> None:
    lines = [line for line in described(small_search()).splitlines() if line]
    assert lines[0] == "**exp9-0001 is the best: lr 0.01, eval NLL 2.5000**  "
    assert lines[1].startswith("See [all trials by eval NLL](#/trials) and [the report](#/report)")
    assert lines[2] == "* 2.5000 ± 0.0500 after 4.0k tokens"
    assert lines[3] == (
        "* 0.4000 ± 0.0000 nats per token below the second, exp9-0000: "
        "more than noise (2 paired standard errors)"
    )
    assert lines[4] == (
        "* 1.5000 ± 0.0000 nats per token below the base model at 4.0000: "
        "more than noise (2 paired standard errors)"
    )


def test_the_best_trials_and_the_stopped_ones_have_a_row_each() -> None:
    text = described(small_search())
    assert cells(text, "[exp9-0001]") == [
        "[exp9-0001](#/runs/b)", "finished", "2.5000 ± 0.0500", "0.01", "4.0k"
    ]  # fmt: skip
    assert cells(text, "exp9-0003") == ["exp9-0003", "diverged", "the loss rose tenfold"]
    planned = experiment().budget.trials
    assert f"4 trials (1 diverged, 2 finished, 1 halved); the budget is {planned}." in text
    assert "| `optim.lr`" in text
    assert "1e-06 to 0.1, log-uniform" in text


def test_before_anything_is_known_it_says_so() -> None:
    assert described([search_started()]).startswith("**exp9: no trial was evaluated yet**  \n")
    assert describe_search(experiment(), SearchState(), LINKS).startswith(
        "**exp9: no trial was evaluated yet"
    )


def test_an_eval_nll_is_told_with_the_tokens_it_was_measured_after() -> None:
    assert "* 3.5000 ± 0.0500 after 1.0k tokens" in described(trained_further()).splitlines()


def test_while_it_runs_the_best_is_the_best_so_far() -> None:
    events: list[Event] = [search_started(), trial_started(1001.0, 0), Reported(1002.0, report(0, 1000, 3.0))]
    assert described(events).startswith("**exp9-0000 is the best so far: lr 0.1, eval NLL 3.0000")


def test_reasons_are_cut_and_cannot_become_markup() -> None:
    evil = "a | b\n<script>alert(1)</script> [x](y) *" + "z" * 1000
    events = [search_started(), trial_started(1001.0, 0), Ended(1002.0, outcome(0, "failed", 0, None, evil))]
    row = cells(described(events), "[exp9-0000]")
    assert len(row) == 3
    assert row[2].startswith("a \\| b &lt;script>alert(1)&lt;/script> \\[x\\](y) \\*zzz")
    assert len(row[2]) < MAX_REASON_CHARS + 20


def test_many_stopped_trials_keep_it_below_what_mlflow_stores() -> None:
    events: list[Event] = [search_started()]
    for trial in range(200):
        events.append(trial_started(1001.0 + trial, trial))
        end = outcome(trial, "halved", 1000, 3.0 + trial, "x" * 500)
        events.append(replace(Ended(1002.0 + trial, end)))
    text = described(events)
    assert len(text) < 8000
    assert f"{200 - STOPPED_SHOWN} more in [all trials](#/trials)" in text


def test_what_other_seeds_decided_is_the_answer_and_their_runs_are_no_trials() -> None:
    text = described(confirmed_search(2.9, 2.6, 2.9, 2.6))
    assert text.startswith("**exp9-0000 is the best:"), "lower with other seeds, though not with its own"
    assert "confirmed with 2 other seeds" in text
    assert "4 runs to confirm the best (4 finished)" in text
    assert "exp9-0004" not in text
