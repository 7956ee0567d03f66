from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search.events import Ended, Event, Reported, Retried, SearchEnded
from search.figures import Figure, RunUpdate, flatten, merge, run_updates
from search.state import SearchState
from search.tracking import updates_of
from tests.unit.search.recorded import (
    MAX_TOKENS,
    a_repeat,
    confirmed_search,
    evaluation,
    nobody_finished,
    outcome,
    report,
    search_started,
    small_search,
    to_its_end,
    trial_started,
)
from train_fn.times import PARTS, Times


def all_updates(events: list[Event]) -> list[RunUpdate]:
    return updates_of(SearchState(), events, MAX_TOKENS)[0]


def of_run(events: list[Event], trial: int | None) -> RunUpdate:
    return merge([update for update in all_updates(events) if update.trial == trial])


def test_a_window_becomes_figures_with_tokens_as_their_step() -> None:
    events = [search_started(), trial_started(1001.0, 0), Reported(1002.5, report(0, 1000, 3.25))]
    figures = of_run(events, 0).figures
    assert [(f.key, f.value, f.step) for f in figures if f.key.startswith("loss/") and f.step == 500] == [
        ("loss/raw", 3.0, 500),
        ("loss/ema_90", 2.9, 500),
        ("loss/ema_98", 2.8, 500),
    ]
    at_end = {f.key: f.value for f in figures if f.step == 1000}
    assert at_end.items() >= {
        "loss/raw": 4.0,
        "optim/lr": 1e-4,
        "optim/grad_norm": 0.7,
        "optim/loss_scale": 65536.0,
        "overflow/rate": 0.1,
        "overflow/steps": 1.0,
        "curve/spikes": 0.0,
        "speed/tokens_per_s": 500.0,
        "eval/nll": 3.25,
        "eval/nll_stderr": 0.05,
    }.items()  # fmt: skip
    assert {f.time_ms for f in figures if not f.key.startswith("trial/")} == {1_002_500}


def test_a_trial_shows_what_its_time_went_into() -> None:
    times = Times(start_s=1, forward_s=2, tracking_s=0.25)
    events = [search_started(), trial_started(1001.0, 0)]
    events.append(Reported(1002.0, replace(report(0, 500, None), times=Times(start_s=1))))
    events.append(Reported(1004.5, replace(report(0, 1000, 3.5), times=times)))
    events.append(Ended(1006.0, replace(outcome(0, "finished", 2000, 3.0), times=replace(times, step_s=1.5))))
    figures = [f for f in of_run(events, 0).figures if f.key.startswith("time/")]
    assert {f.step for f in figures} == {1000, 2000}, "at evaluations and at the end"
    assert [(f.key, f.value) for f in figures if f.step == 1000] == [
        (f"time/{part}_s", replace(times, other_s=0.25).of(part)) for part in PARTS
    ]
    at_end = {f.key: f.value for f in figures if f.step == 2000}
    assert at_end["time/step_s"] == 1.5
    assert sum(at_end.values()) == 5.0


def test_a_trial_of_an_old_ledger_shows_no_times() -> None:
    assert not [f for u in all_updates(small_search()) for f in u.figures if f.key.startswith("time/")]


def test_a_run_that_confirms_a_trial_is_tagged_with_it() -> None:
    events = [*small_search()[:-1], *a_repeat(4, confirms=1, seed=1, nll=2.6)]
    assert of_run(events, 4).tags["confirms"] == "1"
    assert of_run(events, 4).params["run.seed"] == "1"
    assert "confirms" not in of_run(events, 1).tags
    assert "finishes" not in of_run(events, 4).tags
    assert of_run([*nobody_finished(2.5), *to_its_end(2, 0, 2.0)], 2).tags["finishes"] == "0"


def test_the_search_follows_what_other_seeds_decided() -> None:
    tags = of_run(confirmed_search(3.4, 2.9, 3.4, 2.9), None).tags
    assert tags["best_trial"] == "0"


def test_the_search_follows_its_best_trial_and_its_tokens() -> None:
    update = of_run(small_search(), None)
    best = [(f.value, f.step) for f in update.figures if f.key == "search/best_eval_nll"]
    assert best == [(3.5, 1000), (3.2, 2000), (3.0, 3000), (2.9, 4000), (2.5, 8000)]
    spent = [f.value for f in update.figures if f.key == "search/tokens_spent"]
    saved = [f.value for f in update.figures if f.key == "search/tokens_saved"]
    assert (spent, saved) == ([4000.0, 8000.0, 10_000.0, 11_000.0], [0.0, 0.0, 2000.0, 5000.0])
    assert [f.value for f in update.figures if f.key == "search/base_eval_nll"] == [4.0]
    assert (update.status, update.tags["status"], update.tags["best_trial"]) == ("FINISHED", "finished", "1")
    assert update.params == {"name": "exp9", "budget.trials": "4"}


def test_a_trial_carries_its_parameters_and_its_end() -> None:
    update = of_run(small_search(), 2)
    assert update.params["optim.lr"] == update.params["sampled.optim.lr"] == "0.001"
    assert update.params["data.clean.languages"] == "en"
    assert update.tags == {
        "status": "halved",
        "reason": "2.4 is not among the best third",
        "attempt": "0",
        "rung": "1",
        "profile": "laptop",
        "data_key": "data-1",
        "git_commit": "abc123",
        "mlflow.note.content": "**halved**: 2.4 is not among the best third",
    }
    assert update.status == "KILLED"
    assert of_run(small_search(), 3).status == "FAILED"
    assert of_run(small_search(), 1).status == "FINISHED"


def test_what_trials_are_sorted_by_is_a_metric_because_parameters_sort_as_text() -> None:
    figures = {
        f.key: (f.value, f.step) for f in of_run(small_search(), 2).figures if f.key.startswith("trial/")
    }
    assert figures == {
        "trial/lr": (0.001, 0),
        "trial/effective_batch_size": (64.0, 0),
        "trial/tokens_seen": (2000.0, 2000),
    }


def test_a_second_attempt_does_not_repeat_them() -> None:
    first: list[Event] = [search_started(), trial_started(1001.0, 0)]
    first += [Ended(1002.0, outcome(0, "cancelled", 0, None)), trial_started(1003.0, 0, attempt=1)]
    assert len([f for f in of_run(first, 0).figures if f.key == "trial/lr"]) == 1


def test_faults_that_a_trial_survived_are_tags() -> None:
    events: list[Event] = [search_started(), trial_started(1001.0, 0)]
    for k, (cause, skipped) in enumerate((("unknown", 0), ("hang", 0), ("unknown", 8))):
        events.append(Retried(1002.0 + k, 0, cause, f"fault {k}", skipped))
    tags = of_run(events, 0).tags
    assert (tags["retries"], tags["last_fault"]) == ("1 hang, 2 unknown", "fault 2")
    assert tags["skipped_examples"] == "8"
    assert "skipped_examples" not in of_run(events[:-1], 0).tags


def test_examples_that_spoil_a_gradient_are_counted_with_those_of_left_out_steps() -> None:
    events: list[Event] = [
        search_started(),
        trial_started(1001.0, 0),
        Reported(1002.0, report(0, 1000, None)),
    ]
    assert "skipped_examples" not in of_run(events, 0).tags
    events.append(Reported(1003.0, replace(report(0, 2000, None), nonfinite_examples=2)))
    assert of_run(events, 0).tags["skipped_examples"] == "2"
    events.append(Retried(1004.0, 0, "unknown", "fault", 8))
    assert of_run(events, 0).tags["skipped_examples"] == "10"


def test_what_a_restarted_worker_repeats_gives_no_figures() -> None:
    events = [search_started(), trial_started(1001.0, 0), Reported(1002.0, report(0, 1000, 3.0))]
    again = Reported(1050.0, report(0, 1000, 9.0))
    assert all_updates([*events, again]) == all_updates(events)


def test_a_later_command_never_changes_a_parameter() -> None:
    first: list[Event] = [search_started(), trial_started(1001.0, 0)]
    first += [Ended(1002.0, outcome(0, "cancelled", 0, None)), SearchEnded(1003.0, "interrupted", 3.0)]
    larger = replace(search_started(2000.0), experiment={"name": "exp9", "budget": {"trials": 99}})
    later = all_updates([*first, larger, trial_started(2001.0, 0, attempt=1)])[len(all_updates(first)) :]
    assert [update.params for update in later] == [{}, {}]
    assert [update.status for update in later] == ["RUNNING", "RUNNING"]
    assert later[1].tags["reason"] == ""


def test_an_address_with_a_password_is_no_parameter() -> None:
    secret = {"name": "exp9", "tracking": {"uri": "https://me:secret@host"}}
    updates = all_updates([replace(search_started(), experiment=secret)])
    assert "secret" not in repr(updates)


def test_long_values_are_cut_where_mlflow_would_refuse_them() -> None:
    flat = flatten({"data": {"sources": ["x" * 5000, "y" * 5000], "weights": ()}, "n": None})
    assert len(flat["data.sources"]) == 6000
    assert flat["data.sources"].endswith("...")
    assert (flat["data.weights"], flat["n"]) == ("", "None")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_merging_in_any_groups_is_merging_at_once(sizes: list[int]) -> None:
    updates = [
        RunUpdate(1, i, (Figure("a", float(i), i, i),), {f"p{i % 3}": str(i)}, {f"t{i % 2}": str(i)},
                  "RUNNING" if i % 3 == 0 else None)
        for i in range(sum(sizes))
    ]  # fmt: skip
    groups, at = [], 0
    for size in sizes:
        groups.append(merge(updates[at : at + size]))
        at += size
    whole, parts = merge(updates), merge(groups)
    assert (parts.figures, parts.params, parts.tags, parts.status) == (
        whole.figures,
        whole.params,
        whole.tags,
        whole.status,
    )


def test_an_event_without_news_for_the_search_updates_only_its_trial() -> None:
    events = [search_started(), trial_started(1001.0, 0)]
    before = updates_of(SearchState(), events, MAX_TOKENS)[1]
    window = replace(report(0, 1000, None), eval=None)
    after = updates_of(before, [Reported(1002.0, window)], MAX_TOKENS)[1]
    assert [u.trial for u in run_updates(before, after, Reported(1002.0, window), MAX_TOKENS)] == [0]
    scored = replace(window, eval=evaluation(3.0))
    after = updates_of(before, [Reported(1002.0, scored)], MAX_TOKENS)[1]
    assert [u.trial for u in run_updates(before, after, Reported(1002.0, scored), MAX_TOKENS)] == [0, None]
