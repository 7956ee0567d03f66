import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers._tpe.sampler import _split_trials
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.study import JOURNAL, MAX_ATTEMPTS, Repeat, Study
from search.told import tell_gp, tell_tpe
from spaces.experiment import BudgetConfig, Experiment, HalvingConfig, SamplerConfig
from tests.full_disk import files_of_at_most
from train_fn.config import RunConfig, TrainConfig
from train_fn.errors import InputError
from train_fn.report import Outcome, Status

EXPERIMENT = Experiment(
    name="toy",
    profile="laptop",
    description="",
    base=TrainConfig(run=RunConfig(max_tokens=900, window_tokens=100)),
    space={
        "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
        "optim.effective_batch_size": CategoricalDistribution((4, 16, 64)),
    },
    known_good=({"optim.lr": 1e-3, "optim.effective_batch_size": 16}, {"optim.lr": 1e-2}),
    budget=BudgetConfig(trials=12),
    halving=HalvingConfig(spacing=3.0, first_rung_tokens=100),
    sampler=SamplerConfig(startup_trials=4, seed=7),
)
Params = dict[str, str | int | float | bool]


def outcome(trial: int, status: Status, nll: float | None = None) -> Outcome:
    return Outcome(trial, status, f"{status}, for a test", 900, 9, 0, nll, None, 1.0, 0.1, None)


def value_of(params: Params) -> float:
    return 2 + 0.1 * abs(math.log10(float(params["optim.lr"])) + 3)


def finish(study: Study, number: int, params: Params) -> None:
    study.tell(outcome(number, "finished", value_of(params)), {100: 4.0, 900: value_of(params)})


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """Read the journal as `optuna-dashboard` does."""
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    return optuna.load_study(study_name="toy", storage=storage).trials


def test_known_good_points_come_first_once_and_what_they_leave_open_is_sampled(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    assert study.ask() == (0, {"optim.lr": 1e-3, "optim.effective_batch_size": 16})
    study = Study.open(EXPERIMENT, tmp_path)
    number, params = study.ask()
    assert (number, params["optim.lr"]) == (1, 1e-2)
    assert params["optim.effective_batch_size"] in (4, 16, 64)
    assert study.ask()[1]["optim.lr"] not in (1e-3, 1e-2)
    assert study.count() == 3


@pytest.mark.parametrize("kind", ["tpe", "gp", "random"])
def test_one_slot_and_one_seed_give_the_same_trials_however_often_it_is_interrupted(
    tmp_path: Path, kind: str
) -> None:
    experiment = replace(EXPERIMENT, sampler=SamplerConfig(kind, startup_trials=3, seed=7))  # type: ignore[arg-type]

    def search(folder: Path, reopen: bool) -> list[Params]:
        study, tried = Study.open(experiment, folder), []
        for _ in range(5 if kind == "gp" else 8):
            number, params = study.ask()
            if reopen:
                study = Study.open(experiment, folder)
                assert study.running() == [(number, params)]
            finish(study, number, params)
            tried.append(params)
            if reopen:
                study = Study.open(experiment, folder)
        return tried

    assert search(tmp_path / "a", False) == search(tmp_path / "b", True)


def test_another_seed_gives_other_trials(tmp_path: Path) -> None:
    other = replace(EXPERIMENT, sampler=replace(EXPERIMENT.sampler, seed=8))
    first, second = Study.open(EXPERIMENT, tmp_path / "a"), Study.open(other, tmp_path / "b")
    assert [first.ask() for _ in range(4)] != [second.ask() for _ in range(4)]


def test_what_each_outcome_becomes_in_the_study(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    statuses: list[Status] = ["finished", "halved", "diverged", "overflowing", "failed", "cancelled"]
    for status in statuses:
        number, _ = study.ask()
        study.tell(
            outcome(number, status, 2.5 if status in ("finished", "halved") else None), {107: 3.0, 311: 2.5}
        )
    states = [t.state.name for t in stored(tmp_path)]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED", "FAIL", "RUNNING"]
    finished, halved, diverged, *_ = stored(tmp_path)
    assert finished.value == 2.5
    assert halved.intermediate_values == {100: 3.0, 300: 2.5}, "by rung, whatever the batch overshot"
    assert diverged.intermediate_values == {}
    assert diverged.user_attrs["status"] == "diverged"
    assert diverged.user_attrs["reason"] == "diverged, for a test"
    assert [number for number, _ in study.running()] == [5], "the retry of the failed one, cancelled"


def best_first(trials: list[optuna.trial.FrozenTrial]) -> list[int]:
    """Return the order in which TPE takes trials for good ones; those that run come last."""
    found: list[int] = []
    for good in range(1, len(trials) + 1):
        below, _ = _split_trials(optuna.create_study(), trials, good)
        found += [t.number for t in below if t.number not in found]
    return found


def test_tpe_holds_doomed_trials_for_worse_than_all_others(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    ends: list[tuple[Status, float | None]] = [
        ("diverged", None), ("halved", 9.0), ("finished", 8.0), ("overflowing", None), ("halved", 7.0)
    ]  # fmt: skip
    for status, nll in ends:
        number, _ = study.ask()
        study.hear(number, {100: nll or 3.0})
        study.tell(outcome(number, status, nll), {100: nll or 3.0})
    order = best_first(tell_tpe(stored(tmp_path)))
    assert order[:3] == [2, 4, 1]
    assert set(order[3:]) == {0, 3}


def test_the_gaussian_process_sees_what_each_trial_would_end_with(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    for _ in range(6):
        study.ask()
    study.tell(outcome(0, "finished", 2.0), {100: 4.0, 300: 3.0, 900: 2.0})
    study.tell(outcome(1, "finished", 2.4), {100: 4.4, 300: 3.0, 900: 2.4})
    study.tell(outcome(2, "halved", 4.6), {100: 4.6})
    study.hear(3, {100: 9.0})
    study.tell(outcome(4, "diverged"), {})
    told = {t.number: (t.state.name, t.value) for t in tell_gp(stored(tmp_path))}
    assert {number: state for number, (state, _) in told.items()} == {
        **dict.fromkeys(range(5), "COMPLETE"), 5: "RUNNING"
    }  # fmt: skip
    ends = [told[number][1] for number in range(5)]
    fell = -1.2 - 0.8  # the median of -1 and -1.4, then of -1 and -0.6
    assert ends[:3] == pytest.approx([2.0, 2.4, 4.6 + fell])
    median = (2.4 + 4.6 + fell) / 2
    worst = median + 2 * (median - 2.0)
    assert ends[3:] == pytest.approx([worst, worst], abs=2e-3), "far above, and doomed: no further than this"


def test_with_doomed_trials_alone_the_gaussian_process_sees_no_difference(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    for number in range(2):
        study.ask()
        study.tell(outcome(number, "diverged"), {})
    assert len({trial.value for trial in tell_gp(stored(tmp_path))}) == 1


def test_a_trial_that_runs_is_judged_by_how_far_it_came(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    for _ in range(4):
        study.ask()
    study.tell(outcome(0, "halved", 3.5), {100: 3.5})
    study.hear(1, {110: 3.0})
    study.hear(1, {110: 3.0, 205: 2.9, 310: 2.8})
    study.hear(2, {100: 2.0})
    assert best_first(tell_tpe(stored(tmp_path))) == [1, 2, 0], "of the last one nothing is known"
    study.tell(outcome(1, "halved", 2.8), {110: 3.0, 205: 2.9, 310: 2.8})
    assert stored(tmp_path)[1].intermediate_values == {100: 3.0, 300: 2.8}, "by rung, each once"
    study.hear(1, {910: 1.0})
    assert stored(tmp_path)[1].intermediate_values == {100: 3.0, 300: 2.8}, "it has ended"


def test_a_failed_trial_is_tried_again_with_its_values_and_uses_the_budget_once(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    tried = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        number, params = study.ask() if attempt == 1 else next_of_retry(study)
        tried.append(params)
        study.tell(outcome(number, "failed"), {})
    assert all(params == tried[0] for params in tried)
    assert study.count() == 2, "the failed one and the other known good point, which was asked for in between"
    assert study.ask()[1] != tried[0]


def test_a_command_that_is_killed_while_it_tells_a_failure_uses_no_more_of_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    study = Study.open(EXPERIMENT, tmp_path)
    number, _ = study.ask()
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", killed)
        with pytest.raises(KilledError):
            study.tell(outcome(number, "failed"), {})
    study = Study.open(EXPERIMENT, tmp_path)
    study.tell(outcome(number, "failed"), {})
    assert study.count() == 0, "its second attempt has not begun"
    next_of_retry(study)
    assert study.count() == 2, "the second attempt, and the other known good point"


def test_a_trial_whose_failure_is_final_is_not_tried_again(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    number, _ = study.ask()
    study.tell(replace(outcome(number, "failed"), final=True), {})
    assert [t.state.name for t in stored(tmp_path)] == ["FAIL", "WAITING"], "the other known good point"


def next_of_retry(study: Study) -> tuple[int, Params]:
    """Return the retry, which waits behind the second known good point."""
    number, _ = study.ask()
    study.tell(outcome(number, "halved"), {100: 3.0})
    return study.ask()


def test_a_repeat_has_the_values_of_its_trial_a_number_of_its_own_and_uses_no_budget(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    number, params = study.ask()
    finish(study, number, params)
    assert not study.is_repeated(Repeat(0, 1))
    assert study.repeat(Repeat(0, 1)) == (2, params), "1 is that of the other known good point, which waits"
    assert (study.repeat_of(0), study.repeat_of(2)) == (None, Repeat(0, 1))
    assert study.is_repeated(Repeat(0, 1))
    assert not study.is_repeated(Repeat(0, 2))
    assert study.count() == 1
    study = Study.open(EXPERIMENT, tmp_path)
    assert study.running() == [(2, params)]
    assert study.repeat_of(2) == Repeat(0, 1)
    study.tell(outcome(2, "finished", 2.25), {100: 4.0, 900: 2.25})
    assert (stored(tmp_path)[2].state.name, stored(tmp_path)[2].value) == ("COMPLETE", 2.25)
    assert study.ask()[0] == 1
    assert study.ask()[0] == 3
    assert study.count() == 3


def test_a_halved_trial_is_run_to_its_end_with_its_values_outside_the_budget(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    number, params = study.ask()
    study.tell(outcome(number, "halved"), {100: 3.0})
    to_end = Repeat(0, None)
    assert not study.is_repeated(to_end)
    assert study.repeat(to_end) == (2, params)
    assert (study.repeat_of(2), study.is_repeated(to_end), study.count()) == (to_end, True, 1)
    study = Study.open(EXPERIMENT, tmp_path)
    assert (study.running(), study.repeat_of(2), study.count()) == ([(2, params)], to_end, 1)
    assert not study.is_repeated(Repeat(0, 0)), "a seed is another thing"
    study.tell(outcome(2, "finished", 2.25), {100: 3.0, 900: 2.25})
    assert [t.state.name for t in stored(tmp_path)] == ["PRUNED", "WAITING", "COMPLETE"]


def test_a_run_to_the_end_that_fails_waits_for_nobody(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    study.tell(outcome(study.ask()[0], "halved"), {100: 3.0})
    number, _ = study.repeat(Repeat(0, None))
    study.tell(outcome(number, "failed"), {})
    assert [t.state.name for t in stored(tmp_path)] == ["PRUNED", "WAITING", "FAIL"]
    assert not study.is_repeated(Repeat(0, None)), "who wanted it asks again"


def test_a_failed_repeat_waits_for_nobody_and_is_done_with_after_so_many_attempts(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    finish(study, *study.ask())
    for attempt in range(MAX_ATTEMPTS):
        assert not study.is_repeated(Repeat(0, 1)), attempt
        number, _ = study.repeat(Repeat(0, 1))
        assert study.is_repeated(Repeat(0, 1))
        study.tell(outcome(number, "failed"), {})
    assert study.is_repeated(Repeat(0, 1))
    assert [t.state.name for t in stored(tmp_path)] == ["COMPLETE", "WAITING", "FAIL", "FAIL"]


@pytest.mark.parametrize("kind", ["gp", "tpe"])
def test_values_that_fail_are_not_proposed_for_ever_where_the_loss_gets_better_towards_them(
    tmp_path: Path, kind: str
) -> None:
    """Ranks of 64 and more cannot run. Told nothing of it, 28 of 32 proposals of the Gaussian process did."""
    space = {
        "optim.lr": EXPERIMENT.space["optim.lr"],
        "model.lora.rank": CategoricalDistribution((4, 8, 16, 32, 64, 128, 256)),
    }
    sampler = SamplerConfig(kind, 8)  # type: ignore[arg-type]
    plan = replace(EXPERIMENT, space=space, known_good=(), sampler=sampler, budget=BudgetConfig(trials=24))
    study, ranks = Study.open(plan, tmp_path), []
    while study.count() < 24:
        number, params = study.ask()
        rank = int(params["model.lora.rank"])
        ranks.append(rank)
        if rank >= 64:
            study.tell(replace(outcome(number, "failed"), final=True), {})
        else:
            nll = 3 - 0.05 * math.log2(rank)
            study.tell(outcome(number, "finished", nll), {100: nll + 1, 900: nll})
    assert sum(rank >= 64 for rank in ranks[8:]) <= 5, ranks


def test_told_twice_changes_nothing(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    number, params = study.ask()
    finish(study, number, params)
    study.tell(outcome(number, "failed"), {})
    assert [t.state.name for t in stored(tmp_path)] == ["COMPLETE", "WAITING"]


def test_a_journal_with_a_torn_last_line_goes_on(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    number, params = study.ask()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":6,"worker_')
    study = Study.open(EXPERIMENT, tmp_path)
    assert study.running() == [(number, params)]
    finish(study, number, params)
    assert stored(tmp_path)[0].state.name == "COMPLETE"


def test_an_ask_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    expected = [study.ask() for _ in range(3)]
    lines = (tmp_path / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text("".join(lines[:-1]))  # the last parameter was never written
    running = Study.open(EXPERIMENT, tmp_path).running()
    assert running[:2] == expected[:2]
    (number, params), (_, before) = running[2], expected[2]
    assert (number, params["optim.lr"]) == (2, before["optim.lr"])
    assert params["optim.effective_batch_size"] in (4, 16, 64)


def test_another_space_is_refused_in_one_line(tmp_path: Path) -> None:
    Study.open(EXPERIMENT, tmp_path)
    other = replace(
        EXPERIMENT, space={**EXPERIMENT.space, "optim.lr": FloatDistribution(1e-6, 1.0, log=True)}
    )
    with pytest.raises(InputError, match=r"another space of optim\.lr;") as error:
        Study.open(other, tmp_path)
    assert "\n" not in str(error.value)


def test_a_known_good_point_outside_the_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"known good point optim\.lr = 2\.0"):
        Study.open(replace(EXPERIMENT, known_good=({"optim.lr": 2.0},)), tmp_path)
    assert not (tmp_path / JOURNAL).exists()


def test_a_full_disk_is_one_line_for_a_new_trial_too(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    number, _ = study.ask()
    with files_of_at_most((tmp_path / JOURNAL).stat().st_size):
        for write in (
            study.ask,
            lambda: study.repeat(Repeat(number, 1)),
            lambda: study.hear(number, {900: 2.0}),
            lambda: study.tell(outcome(number, "failed"), {}),
        ):
            with pytest.raises(InputError, match=r"the study cannot be written: .*; make room there"):
                write()
