import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from analysis import rank, runs
from analysis.records import SearchRecord
from analysis.runs import read_search
from search import standing, state
from search.events import Ended, Reported, SearchEnded, SearchStarted, TrialStarted
from search.ledger import read_events
from spaces.describe import describe
from tests.unit.analysis import written
from tests.unit.analysis.written import START, Run, append, evaluation, experiment, keep_lines
from train_fn.errors import InputError


@pytest.fixture
def copied(storage: Path, tmp_path: Path) -> Path:
    """The folder of the search, to be written to."""
    return Path(shutil.copytree(storage / "exp9", tmp_path / "exp9"))


def replayed(folder: Path) -> state.SearchState:
    return state.replay(read_events(folder / "events.jsonl"))


def test_reads_of_every_trial_what_the_search_itself_knows(storage: Path, search: SearchRecord) -> None:
    known = replayed(storage / "exp9")
    assert len(search.trials) == len(known.trials) == 24
    for trial in search.trials:
        other = known.trials[trial.number]
        assert (trial.status, trial.reason, trial.checkpoint) == (
            other.status,
            other.reason,
            other.checkpoint,
        )
        assert (trial.tokens_seen, trial.steps, trial.overflow_steps) == (
            other.tokens_seen,
            other.steps,
            other.overflow_steps,
        )
        assert (trial.eval_nll, trial.eval_nll_stderr) == (other.eval_nll, other.eval_nll_stderr)
        assert (trial.train_s, trial.start_overhead_s) == (other.train_s, other.start_overhead_s)
        assert trial.times is not None
        assert trial.times == other.times
        assert trial.times.total_s == pytest.approx(sum(attempt.seconds for attempt in trial.attempts))
        assert (trial.params, trial.config) == (other.params, other.config)
        assert [(e.tokens_seen, e.evaluation.nll) for e in trial.evals] == [
            (e.tokens_seen, e.nll) for e in other.evals
        ]
        if other.last_eval is not None:
            assert trial.evals[-1].evaluation == other.last_eval
        assert trial.attempts[0].start == other.started
        assert trial.attempts[-1].end == other.ended


def test_reads_of_the_search_what_it_knows_of_itself(storage: Path, search: SearchRecord) -> None:
    known = replayed(storage / "exp9")
    assert (search.status, search.data_key, search.git_commit) == ("finished", "data-1", "abc123")
    assert search.wall_s == pytest.approx(state.wall_s(known))
    newest = {d.trial: asdict(d) for d in search.decisions}
    assert newest == {t.trial: asdict(t.decision) for t in known.trials.values() if t.decision is not None}
    assert search.base == known.base_eval == evaluation(written.BASE_NLL, 9)
    assert (search.planned_trials, search.max_tokens) == (24, written.MAX_TOKENS)
    assert search.data_report == written.data_report()
    assert search.trial(3).id == "exp9-0003"


def test_ranks_and_counts_as_the_search_does(storage: Path, search: SearchRecord) -> None:
    known = replayed(storage / "exp9")
    assert [t.number for t in rank.ranked(search.trials)] == [t.trial for t in standing.ranked(known)]
    found = rank.answer(search)
    assert found.cost.tokens == state.tokens_spent(known)
    assert found.saved.tokens == state.tokens_saved(known, written.MAX_TOKENS)
    assert dict(found.counts) == state.counts(state.tried(known))


def test_decides_by_other_seeds_as_the_search_does(seeded: SearchRecord) -> None:
    known = replayed(seeded.folder)
    found = rank.answer(seeded)
    top = standing.best(known)
    assert top is not None
    assert found.best is not None
    assert found.best.number == top.trial
    assert found.confirmation == standing.confirmed(known)
    again = {(t.number, t.confirms, t.seed) for t in seeded.repeats}
    assert again == {(t.trial, t.confirms, t.seed) for t in state.repeats(known)}
    assert [t.spikes for t in seeded.trials] == [t.spikes for _, t in sorted(known.trials.items())]
    assert dict(found.counts) == state.counts(state.tried(known))


def test_a_ledger_from_before_trials_were_confirmed_is_read(copied: Path) -> None:
    lines = (copied / "events.jsonl").read_text()
    assert ',"confirms":null' in lines
    (copied / "events.jsonl").write_text(lines.replace(',"confirms":null', ""))
    assert {trial.confirms for trial in read_search(copied.parent, "exp9").trials} == {None}


def test_which_halved_trial_a_run_takes_to_its_end_is_read(copied: Path) -> None:
    lines = (copied / "events.jsonl").read_text()
    assert {trial.finishes for trial in read_search(copied.parent, "exp9").trials} == {None}
    (copied / "events.jsonl").write_text(lines.replace(',"finishes":null', ',"finishes":0', 1))
    first, *others = read_search(copied.parent, "exp9").trials
    assert (first.finishes, {trial.finishes for trial in others}) == (0, {None})
    (copied / "events.jsonl").write_text(lines.replace(',"finishes":null', ""))
    assert {trial.finishes for trial in read_search(copied.parent, "exp9").trials} == {None}


def test_reads_the_points_of_every_window(storage: Path, search: SearchRecord) -> None:
    reports = [e.report for e in read_events(storage / "exp9" / "events.jsonl") if isinstance(e, Reported)]
    mine = [report for report in reports if report.trial == 0]
    points = [(p.tokens_seen, p.loss, p.ema_90, p.ema_98) for report in mine for p in report.points]
    assert [point for window in search.trial(0).windows for point in window.points] == points
    assert [window.spikes for window in search.trial(0).windows] == [report.spikes for report in mine]


def test_an_unknown_search_names_those_that_are_there(storage: Path) -> None:
    with pytest.raises(InputError, match=r"no search 'exp5' in .*; it holds exp9; run"):
        read_search(storage, "exp5")
    with pytest.raises(InputError, match="it holds none"):
        read_search(storage / "nowhere", "exp5")


def test_a_torn_last_line_never_happened(copied: Path) -> None:
    whole = read_search(copied.parent, "exp9")
    with (copied / "events.jsonl").open("a") as file:
        file.write('{"kind":"Ended","time":1,"outc')
    assert read_search(copied.parent, "exp9") == whole


@pytest.mark.parametrize(
    "line", ["no json", '{"kind":"Unheard","time":1}', '{"kind":"Ended","time":1}', '{"time":1}']
)
def test_a_line_that_is_no_event_is_named(copied: Path, line: str) -> None:
    count = len((copied / "events.jsonl").read_text().splitlines())
    with (copied / "events.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=f"events.jsonl, line {count + 1}, is no event"):
        read_search(copied.parent, "exp9")


def test_an_empty_ledger_is_a_search_that_has_not_begun(tmp_path: Path) -> None:
    (tmp_path / "exp9").mkdir()
    (tmp_path / "exp9" / "events.jsonl").touch()
    with pytest.raises(InputError, match="has not begun"):
        read_search(tmp_path, "exp9")


def test_a_search_cut_short_is_running_and_so_are_its_trials(copied: Path) -> None:
    keep_lines(copied, 8)
    cut = read_search(copied.parent, "exp9")
    assert cut.status == "running"
    assert {trial.status for trial in cut.trials} == {"running"}
    assert all(trial.attempts[-1].end == cut.last_time for trial in cut.trials)


def test_a_search_that_went_on_after_a_crash_has_two_commands_and_attempts(tmp_path: Path) -> None:
    about = experiment(trials=1)
    folder = tmp_path / about.name
    run = Run(0, {"optim.lr": 1e-3, "optim.effective_batch_size": 16}, points=4)
    config = asdict(about.base)
    first, second = run.window(), run.window()
    append(
        folder,
        SearchStarted(START, describe(about), "laptop", "data-1", ""),
        TrialStarted(START + 1, 0, 0, run.params, config),
        Reported(START + 5, first),
        SearchStarted(START + 100, describe(about), "laptop", "data-1", ""),
        TrialStarted(START + 101, 0, 1, run.params, config),
        Reported(START + 104, first),  # repeated after the restart
        Reported(START + 106, second),
        Ended(START + 107, run.outcome("cancelled", "stopped with the command", None)),
        SearchEnded(START + 108, "interrupted", 8.0),
    )
    search = read_search(tmp_path, about.name)
    assert search.status == "interrupted"
    assert [command.seconds for command in search.commands] == [5.0, 8.0]
    assert [attempt.seconds for attempt in search.trials[0].attempts] == [4.0, 6.0]
    assert len(search.trials[0].windows) == 2
    assert search.wall_s == pytest.approx(state.wall_s(replayed(folder)))


def test_every_attempt_has_the_gpus_of_the_command_it_began_in(tmp_path: Path) -> None:
    about = experiment(trials=1, gpus=1.0)
    smaller = replace(about, resources=replace(about.resources, ranks_per_slot=1))
    run = Run(0, {"optim.lr": 1e-3, "optim.effective_batch_size": 16}, points=4)
    started = asdict(about.base)
    append(
        tmp_path / about.name,
        SearchStarted(START, describe(about), "laptop", "data-1", ""),
        TrialStarted(START, 0, 0, run.params, started),
        Reported(START + 3600, run.window()),
        SearchStarted(START + 9000, describe(smaller), "laptop", "data-1", ""),
        TrialStarted(START + 9000, 0, 1, run.params, started),
        Ended(START + 9360, run.outcome("cancelled", "stopped with the command", None)),
    )
    search = read_search(tmp_path, about.name)
    assert [attempt.gpus for attempt in search.trials[0].attempts] == [2.0, 1.0]
    assert rank.answer(search).cost.gpu_h == pytest.approx(2.0 + 0.1)


def test_a_trial_keeps_the_evaluation_it_had_when_its_end_brought_none(tmp_path: Path) -> None:
    about = experiment(trials=1)
    run = Run(0, {"optim.lr": 1e-3, "optim.effective_batch_size": 16}, points=4)
    reports = [run.window() for _ in range(3)]
    append(
        tmp_path / about.name,
        SearchStarted(START, describe(about), "laptop", "data-1", ""),
        TrialStarted(START + 1, 0, 0, run.params, asdict(about.base)),
        *(Reported(START + 2 + i, report) for i, report in enumerate(reports)),
        Ended(START + 9, run.outcome("diverged", "not finite", None)),
    )
    trial = read_search(tmp_path, about.name).trials[0]
    assert reports[1].eval is not None
    assert trial.eval_nll == reports[1].eval.nll
    assert (trial.status, trial.doomed) == ("diverged", True)


def test_the_ledger_has_the_name_the_search_gives_it() -> None:
    from search.ledger import FILE_NAME

    assert runs.LEDGER_NAME == FILE_NAME
