from dataclasses import replace

import pytest

from search.code_version import CodeVersion
from search.continuation import check_code, check_unchanged
from search.events import SearchStarted
from spaces.describe import describe
from spaces.experiment import Experiment
from spaces.load import load_experiment
from spaces.override import override
from train_fn.errors import InputError


@pytest.fixture
def laptop() -> Experiment:
    return load_experiment("exp4", "laptop")


def started(experiment: Experiment) -> list[SearchStarted]:
    return [SearchStarted(0.0, describe(experiment), experiment.profile, "data", "commit")]


def test_the_same_search_goes_on(laptop: Experiment) -> None:
    check_unchanged(laptop, "data", [])
    check_unchanged(laptop, "data", started(laptop))


def test_more_trials_or_other_machines_are_no_change(laptop: Experiment) -> None:
    more = override(laptop, ["budget.trials=40", "resources.slots=1", "tracking.uri=http://127.0.0.1:1"])
    check_unchanged(more, "data", started(laptop))
    check_unchanged(override(laptop, ["confirm.top=3", "confirm.seeds=4"]), "data", started(laptop))
    check_unchanged(override(laptop, ["run.max_lost_minutes=1"]), "data", started(laptop))


def test_another_description_is_no_change(laptop: Experiment) -> None:
    check_unchanged(replace(laptop, description="as before"), "data", started(laptop))


def test_a_changed_experiment_is_not_silently_continued(laptop: Experiment) -> None:
    changed = override(laptop, ["data.max_example_tokens=32", "halving.eta=4"])
    with pytest.raises(
        InputError, match=r"base\.data\.max_example_tokens: 64 then, 32 now; halving\.eta: 2 then, 4 now"
    ):
        check_unchanged(changed, "data", started(laptop))
    with pytest.raises(InputError, match=r"space\.optim\.lr"):
        check_unchanged(override(laptop, ["optim.lr=0.1"]), "data", started(laptop))
    with pytest.raises(InputError, match="profile"):
        check_unchanged(replace(laptop, profile="cluster"), "data", started(laptop))


def test_a_refusal_names_the_way_to_a_new_search(laptop: Experiment) -> None:
    with pytest.raises(InputError, match="set it back, or begin a new one beside it with --fresh"):
        check_unchanged(override(laptop, ["halving.eta=4"]), "data", started(laptop))


CODE = CodeVersion("c" * 40, {"train_fn/loss.py": "1", "train_fn/loop.py": "2"})
OTHER = CodeVersion("d" * 40, {"train_fn/loss.py": "9", "train_fn/loop.py": "2"})


def with_code(laptop: Experiment, code: CodeVersion) -> SearchStarted:
    (first,) = started(laptop)
    return replace(first, git_commit=code.git_commit, sources=code.sources)


def test_code_that_computes_other_figures_is_not_silently_gone_on_with(laptop: Experiment) -> None:
    past = [with_code(laptop, CODE)]
    assert check_code("exp4", replace(CODE, git_commit="d" * 40), False, past) is False
    told = r"run: train_fn/loss\.py \(cccccccccccc then, dddddddddddd now\); .*--allow-code-change.*--fresh"
    with pytest.raises(InputError, match=told):
        check_code("exp4", OTHER, False, past)


def test_an_allowed_change_of_code_holds_from_then_on(laptop: Experiment) -> None:
    past = [with_code(laptop, CODE)]
    assert check_code("exp4", OTHER, True, past) is True
    past.append(replace(with_code(laptop, OTHER), code_change_allowed=True))
    assert check_code("exp4", OTHER, False, past) is False
    with pytest.raises(InputError, match=r"loss\.py"):
        check_code("exp4", CODE, False, past)


def test_a_ledger_from_before_sources_were_recorded_goes_on(laptop: Experiment) -> None:
    assert check_code("exp4", OTHER, False, started(laptop)) is False
    assert check_code("exp4", OTHER, False, []) is False


def test_other_data_behind_the_same_name_is_a_change(laptop: Experiment) -> None:
    with pytest.raises(InputError, match=r"content of data\.sources"):
        check_unchanged(laptop, "other", started(laptop))
    check_unchanged(laptop, None, started(laptop))  # a finished search trains on it no more
