import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.experiment import Experiment
from spaces.load import load_experiment
from spaces.override import override, parse
from spaces.paths import leaves
from spaces.space import check_space
from train_fn.errors import InputError


@pytest.fixture
def laptop() -> Experiment:
    return load_experiment("exp4", "laptop")


def test_typed_values_reach_base_and_experiment(laptop: Experiment) -> None:
    settings = [
        "data.max_example_tokens=64",
        "data.sources=a.jsonl,b.jsonl",
        "budget.trials=3",
        "run.max_tokens=1e5",
    ]
    changed = override(laptop, [*settings, "doom.enabled=no", "model.lora.rank=8", "data.clean.languages="])
    assert changed.base.data.max_example_tokens == 64
    assert changed.base.data.sources == ("a.jsonl", "b.jsonl")
    assert changed.base.run.max_tokens == 100_000
    assert changed.base.doom.enabled is False
    assert changed.base.model.lora.rank == 8
    assert changed.base.data.clean.languages == ()
    assert changed.budget.trials == 3
    assert laptop.budget.trials != 3


def test_fixing_a_searched_path_takes_it_out_of_the_space(laptop: Experiment) -> None:
    changed = override(laptop, ["optim.lr=0.002"])
    assert "optim.lr" in laptop.space
    assert "optim.lr" not in changed.space
    assert all("optim.lr" not in point for point in changed.known_good)
    assert changed.base.optim.lr == 0.002


def test_fields_that_belong_together_are_checked_together(laptop: Experiment) -> None:
    longer = laptop.base.run.max_tokens * 4
    changed = override(laptop, [f"optim.warmup_tokens={longer // 2}", f"run.max_tokens={longer}"])
    assert changed.base.optim.warmup_tokens == longer // 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optim.lr", "has no '='"),
        ("optm.lr=1", "did you mean 'optim.lr'"),
        ("lr=1", "did you mean 'optim.lr'"),
        ("budget.trails=1", "did you mean 'budget.trials'"),
        ("nonsense=1", r"groups are behaviour, budget, .* \(--set optim=\? lists the fields of optim\)"),
        ("optim=?", "fields of optim are lr, effective_batch_size, "),
        ("data.zzz=1", r"fields of data are sources, .*, clean\.over_length, "),
        ("optim.lr=fast", r"is not a number; write one, for example 0\.001$"),
        ("data.weights=fast", "is not a number; write one, for example 1$"),
        ("optim.lr=-1", "must be above 0"),
        ("optim.lr=nan", "is not a number"),
        ("budget.trials=2.5", "is not a whole number; write one, for example 16$"),
        ("budget.trials=0", "must be at least 1"),
        ("engine.precision=fp12", "is not one of auto, fp16, bf16, fp32; did you mean"),
        ("doom.enabled=perhaps", "is not a boolean"),
        ("data.weights=1", "must be empty or hold one number above 0 for each of the"),
        ("data.clean.near_duplicate_jaccard=0.1", r"must be in \[0.3, 1\]"),
        ("data.sources=a\udcff.jsonl", "has a name that is no UTF-8; rename the file"),
        ("optim=1", "there is no such field"),
        ("confirm.seeds=0", "must be at least 1; set it to 2, or confirm.top=0 to confirm nothing"),
        ("halving.eta=1", "must be at least 2"),
        ("run.seed=-1", "must be at least 0 and below 4294967296"),
        ("sampler.seed=5000000000", "must be at least 0 and below 4294967296"),
    ],
)
def test_bad_settings_are_answered_in_one_line(laptop: Experiment, setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        override(laptop, [setting])
    assert "\n" not in str(raised.value)


@given(st.text(max_size=30), st.text(max_size=20))
def test_any_setting_ends_in_a_valid_experiment_or_one_clear_line(path: str, text: str) -> None:
    laptop = load_experiment("exp4", "laptop")
    with contextlib.suppress(InputError):
        check_space(override(laptop, [f"{path}={text}"]))


@given(data=st.data())
def test_any_text_for_any_field(data: st.DataObject) -> None:
    laptop = load_experiment("exp4", "laptop")
    paths = [p for p, _ in leaves(laptop.base)] + [
        "budget.trials",
        "halving.eta",
        "resources.slots",
        "tracking.uri",
    ]
    text = data.draw(st.one_of(st.text(max_size=10), st.integers().map(str), st.floats().map(str)))
    with contextlib.suppress(InputError):
        override(laptop, [f"{data.draw(st.sampled_from(paths))}={text}"])


@given(st.integers(-(10**12), 10**12))
def test_whole_numbers_survive(number: int) -> None:
    assert parse(str(number), int, "x") == number


def test_groups_of_experiment_and_base_do_not_collide() -> None:
    laptop = load_experiment("exp4", "laptop")
    own = {field.name for field in dataclasses.fields(laptop)}
    assert own.isdisjoint(field.name for field in dataclasses.fields(laptop.base))
