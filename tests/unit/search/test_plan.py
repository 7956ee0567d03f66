"""Plans that work, and one of each kind that cannot."""

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search import draft
from search.cluster import Cluster, Node
from search.events import WeightsRemoved
from search.plan import Plan, draft_plan, make_plan
from search.state import replay
from spaces import exp0, exp4
from spaces.experiment import BudgetConfig, Experiment, HalvingConfig
from spaces.paths import replace_all
from tests.toys import toy_config
from tests.unit.search.recorded import confirmed_search
from train_fn.config import DataConfig, EngineConfig, ModelConfig, RunConfig, TrainConfig
from train_fn.errors import InputError
from train_fn.working_copy import MARKER

LAPTOP = Cluster((Node(2, 0, 16, None, "laptop"),), local=True)
GPUS = Cluster(tuple(Node(40, 8, 512, 80, f"node{n}", "NVIDIA A100") for n in range(2)), local=False)
MEAN = 30.0


@pytest.fixture
def laptop(tmp_path: Path) -> Experiment:
    toy_config("gpt_neox").save_pretrained(tmp_path / "model")
    return Experiment(
        name="toy",
        profile="laptop",
        description="a toy",
        base=TrainConfig(
            model=ModelConfig(path=str(tmp_path / "model")),
            data=DataConfig(max_example_tokens=128),
            engine=EngineConfig(max_tokens_per_micro_batch=1024),
            run=RunConfig(max_tokens=90_000, window_tokens=3_000),
        ),
        space={
            "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
            draft.BATCH_PATH: CategoricalDistribution((4, 8, 16, 32, 64, 128, 256)),
        },
        known_good=({"optim.lr": 1e-3, draft.BATCH_PATH: 16},),
        budget=BudgetConfig(trials=16),
        halving=HalvingConfig(first_rung_tokens=10_000),
    )


def plan(experiment: Experiment, storage: Path, cluster: Cluster = LAPTOP, **data: Any) -> Plan:
    return make_plan(
        experiment, cluster, storage, **{"mean_example_tokens": MEAN, "train_examples": 9_000} | data
    )


def test_the_laptop_plan_counts_what_will_happen(laptop: Experiment, tmp_path: Path) -> None:
    result = plan(laptop, tmp_path / "not" / "there" / "yet", eval_examples=128)
    assert result.rungs == (10_000, 17_000, 28_900, 49_130)
    assert result.slots == 2
    assert result.tokens.confirming == 4
    assert result.tokens.at_most == 20 * 90_000 > result.tokens.expected > 4 * 90_000 + 16 * 10_000
    steps = {step.effective_batch_size: step for step in result.steps}
    assert sorted(steps) == [4, 8, 16, 32, 64, 128, 256]
    assert (steps[64].to_first_rung, steps[64].to_the_end) == (6, 47), "64 * 30 tokens a step"
    assert result.model is not None
    assert result.model.precision == "fp32"
    assert result.model.memory.total_gib < result.model.memory_limit_gib == 16
    assert result.problems == ()
    assert not (tmp_path / "not").exists(), "a plan leaves nothing behind"


def test_the_cluster_plan_needs_neither_network_nor_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft.shutil, "disk_usage", lambda path: shutil_usage(4_000))
    result = plan(exp4.experiment("cluster"), tmp_path, GPUS, mean_example_tokens=100.0)
    assert result.slots == 4, "two trials of four GPUs on each node"
    assert result.model is not None
    assert result.model.shape.parameters == 6_050_882_784
    assert (result.model.precision, result.model.memory_limit_gib) == ("bf16", 80)
    assert 30 < result.model.memory.total_gib < 48, "the logbook ran it on four cards of 48 GB"


def test_a_slot_may_take_all_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft.shutil, "disk_usage", lambda path: shutil_usage(4_000))
    full = Cluster((Node(16, 4, 512, 80, "a"), Node(16, 4, 512, 80, "b")), local=False)
    assert plan(exp4.experiment("cluster"), tmp_path, full, mean_example_tokens=100.0).slots == 2


def test_a_cluster_that_has_to_grow_first_is_planned_as_it_may_become(
    laptop: Experiment, tmp_path: Path
) -> None:
    head, worker = Node(0, 0, 8, None, "head", is_head=True), Node(3, 0, 0, None, "worker")
    grown = plan(laptop, tmp_path, Cluster((head,), False, (worker, worker), 2))
    assert (grown.slots, grown.most_slots) == (6, 16), "more machines may join by hand, for all 16 trials"
    with pytest.raises(InputError, match=r"resources.cpus_per_rank = 4 needs 4 CPUs .* larger nodes"):
        plan(
            replace_all(laptop, {"resources.cpus_per_rank": 4.0}),
            tmp_path,
            Cluster((head,), False, (worker,), 1),
        )


def shutil_usage(free_gib: float) -> Any:
    import shutil

    return shutil._ntuple_diskusage(0, 0, int(free_gib * 2**30))  # type: ignore[attr-defined]


Refused = tuple[str, dict[str, object], dict[str, Any], Cluster, tuple[str, ...]]
REFUSED: list[Refused] = [
    (
        "fewer examples than ranks",
        {"resources.ranks_per_slot": 8},
        {},
        GPUS,
        ("effective_batch_size = 4", "8 ranks"),
    ),
    (
        "larger than the data",
        {},
        {"train_examples": 200},
        LAPTOP,
        ("effective_batch_size = 256", "200 training"),
    ),
    ("no held-out data", {}, {"eval_examples": 0}, LAPTOP, ("data.eval_fraction = 0.05", "0 held-out")),
    ("one held-out example", {}, {"eval_examples": 1}, LAPTOP, ("data.eval_fraction", "more data")),
    (
        "rung within one step",
        {},
        {"mean_example_tokens": 60.0},
        LAPTOP,
        ("first_rung_tokens = 10,000", "one optimizer step", "256", "15,360"),
    ),
    (
        "rung below a window",
        {"halving.first_rung_tokens": 2_000},
        {"mean_example_tokens": 5.0},
        LAPTOP,
        ("first_rung_tokens = 2,000", "run.window_tokens = 3,000"),
    ),
    (
        "rung past the end",
        {"halving.first_rung_tokens": 90_000},
        {},
        LAPTOP,
        ("first_rung_tokens = 90,000", "run.max_tokens = 90,000", "set it to 10_000"),
    ),
    (
        "rung past the end, and a step longer than most of it",
        {"halving.first_rung_tokens": 90_000},
        {"mean_example_tokens": 100.5},
        LAPTOP,
        ("first_rung_tokens = 90,000", "set it to 25_728"),
    ),
    (
        "a step so long that no rung fits",
        {"halving.first_rung_tokens": 90_000},
        {"mean_example_tokens": 300.0},
        LAPTOP,
        ("no value fits alone: set it to 76_800 and run.max_tokens to 100_137, or leave the batch size out",),
    ),
    ("too many brackets", {"halving.brackets": 5}, {}, LAPTOP, ("halving.brackets = 5", "4 rungs")),
    (
        "more slots than fit",
        {"resources.slots": 3},
        {},
        LAPTOP,
        ("resources.slots = 3", "hold 2", "set it to 0"),
    ),
    (
        "too many ranks",
        {"resources.ranks_per_slot": 3},
        {},
        LAPTOP,
        ("ranks_per_slot = 3", "2 CPUs", "set it to 2"),
    ),
    (
        "too many ranks for the nodes that may be added",
        {"resources.ranks_per_slot": 4, "resources.span_nodes": True},
        {},
        Cluster(
            (Node(1, 0, 0, None, "head", is_head=True),), False, (Node(1, 0, 0, None, "worker"),) * 10, 2
        ),
        ("ranks_per_slot = 4", "best of 3 nodes", "set it to 3"),
    ),
    (
        "too many CPUs",
        {"resources.cpus_per_rank": 3.0},
        {},
        LAPTOP,
        ("cpus_per_rank = 3", "2 CPUs", "lower it"),
    ),
    (
        "no GPU",
        {"resources.gpus_per_rank": 1.0},
        {},
        LAPTOP,
        ("gpus_per_rank = 1", "0 GPUs", "--profile laptop"),
    ),
    (
        "no node is large enough",
        {"resources.gpus_per_rank": 1.0, "resources.ranks_per_slot": 16},
        {},
        GPUS,
        ("ranks_per_slot = 16", "16 GPUs on one node", "8 GPUs", "set it to 8"),
    ),
    ("an empty cluster", {}, {}, Cluster((), local=False), ("no living node", "start the cluster")),
    (
        "a missing source",
        {"base.data.sources": ("nothing.jsonl",)},
        {},
        LAPTOP,
        ("'nothing.jsonl' cannot be read", "name a file"),
    ),
    ("a folder of sources", {"base.data.sources": ("tests",)}, {}, LAPTOP, ("'tests' cannot be read",)),
    ("unknown dialogues", {"base.data.sources": ("bundled:foo",)}, {}, LAPTOP, ("known are bundled:chit",)),
    (
        "examples longer than the model's positions",
        {"base.data.max_example_tokens": 600},
        {},
        LAPTOP,
        (
            "data.max_example_tokens = 600 is more than the 512 positions of model.path",
            "set it to 512 or less",
        ),
    ),
    ("a missing file URL", {"base.data.sources": ("file:///no.jsonl",)}, {}, LAPTOP, ("file:///no.jsonl",)),
]


@pytest.mark.parametrize(
    ("changes", "data", "cluster", "words"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_a_plan_that_cannot_work_is_refused(
    changes: dict[str, object],
    data: dict[str, Any],
    cluster: Cluster,
    words: tuple[str, ...],
    laptop: Experiment,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError) as refused:
        plan(replace_all(laptop, changes), tmp_path, cluster, **data)
    message = str(refused.value)
    assert "\n" not in message
    assert "; " in message, "a fix is named"
    for word in words:
        assert word in message


@given(
    max_tokens=st.integers(3_000, 200_000),
    window=st.integers(1, 20_000),
    mean=st.one_of(st.none(), st.floats(1, 500)),
    spacing=st.floats(1.2, 10),
    brackets=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_first_rung_that_is_offered_is_taken(
    laptop: Experiment,
    tmp_path: Path,
    max_tokens: int,
    window: int,
    mean: float | None,
    spacing: float,
    brackets: int,
) -> None:
    changes = {
        "base.run": RunConfig(max_tokens=max_tokens, window_tokens=min(window, max_tokens)),
        "halving.spacing": spacing,
        "halving.brackets": brackets,
        "halving.first_rung_tokens": max_tokens,
    }
    asked = replace_all(laptop, changes)
    found = draft_plan(asked, LAPTOP, tmp_path, mean, 9_000).problems
    problem = next(one for one in found if one.startswith("halving.first_rung_tokens"))
    offer = re.search(r"set it to ([\d_]+)(?: and run.max_tokens to ([\d_]+))?", problem)
    assert offer is not None, problem
    rung, most = int(offer[1]), int(offer[2] or max_tokens)
    taken = replace_all(asked, {"halving.first_rung_tokens": rung, "base.run.max_tokens": most})
    assert draft_plan(taken, LAPTOP, tmp_path, mean, 9_000).problems == ()


def test_the_base_model_may_be_searched_for(tmp_path: Path) -> None:
    found = plan(exp0.experiment("laptop"), tmp_path)
    assert (found.problems, found.rungs[0]) == ((), 300_000)


def test_an_empty_space_is_refused(laptop: Experiment, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty"):
        plan(replace(laptop, space={}, known_good=()), tmp_path)


def test_a_known_good_point_outside_the_space_is_refused(laptop: Experiment, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lr = 50.0 is outside"):
        plan(replace(laptop, known_good=({"optim.lr": 50.0},)), tmp_path)


def test_a_model_larger_than_a_gpu_is_refused(tmp_path: Path) -> None:
    cards = Cluster((Node(16, 4, 512, 24, "node", "NVIDIA A10"), Node(1, 0, 8, None, "head")), local=False)
    with pytest.raises(InputError) as refused:
        plan(exp4.experiment("cluster"), tmp_path, cards, mean_example_tokens=100.0)
    assert "GiB of GPU memory per rank, and a rank has 24.0 GiB" in str(refused.value)
    assert "engine.zero_stage=3" in str(refused.value)


def test_slots_are_as_many_as_memory_holds(laptop: Experiment, tmp_path: Path) -> None:
    small = Cluster((Node(8, 0, 2.0, None, "small"),), local=True)
    result = plan(laptop, tmp_path, small)
    assert 1 <= result.slots == result.placement.by_memory < result.placement.by_devices == 8
    assert any("memory holds" in note for note in result.notes)
    with pytest.raises(InputError, match=r"resources.slots = 8 .* memory hold"):
        plan(replace_all(laptop, {"resources.slots": 8}), tmp_path, small)
    with pytest.raises(InputError, match=r"host memory on each of 1 ranks, and .* has 0\.5 GiB"):
        plan(laptop, tmp_path, Cluster((Node(8, 0, 0.5, None, "tiny"),), local=True))


def test_a_disk_too_small_is_refused(
    laptop: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft.shutil, "disk_usage", lambda path: shutil_usage(0.0))
    with pytest.raises(InputError, match=r"--storage = '.*' has 0 MiB free, .*; make room"):
        plan(laptop, tmp_path)


def test_what_an_extended_search_has_confirmed_is_kept_beside_the_best(
    laptop: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft.shutil, "disk_usage", lambda path: shutil_usage(100.0))
    before = replay(confirmed_search(2.7, 2.9, 2.6, 2.8))  # trials 0 and 1
    extended = replace_all(laptop, {"budget.keep_weights": 2})
    new, later = (plan(extended, tmp_path, before=state).model for state in (None, before))
    assert new is not None
    assert later is not None
    two = 2 * new.disk.weights_gib
    assert later.disk.at_most_gib - new.disk.at_most_gib == pytest.approx(two)
    assert later.disk.expected_gib - new.disk.expected_gib == pytest.approx(two)
    assert later.disk.there_gib == pytest.approx(two)
    removed = replay([*confirmed_search(2.7, 2.9, 2.6, 2.8), *(WeightsRemoved(2000.0, n) for n in (0, 1))])
    assert plan(extended, tmp_path, before=removed).model == new
    # What lies there already needs no free room.
    enough = later.disk.expected_gib - 1.5 * new.disk.weights_gib
    monkeypatch.setattr(draft.shutil, "disk_usage", lambda path: shutil_usage(enough))
    assert plan(extended, tmp_path, before=before).problems == ()


def test_slots_over_several_nodes_need_a_shared_folder(laptop: Experiment, tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("s3://bucket/path")  # a working copy of it
    spread = replace(laptop, resources=replace(laptop.resources, span_nodes=True))
    with pytest.raises(InputError, match=r"span_nodes = true needs a folder .* s3://bucket/path is none"):
        plan(spread, tmp_path)


def test_the_first_problem_is_raised_and_the_others_are_counted(laptop: Experiment, tmp_path: Path) -> None:
    broken = replace_all(laptop, {"resources.slots": 3, "halving.brackets": 5})
    assert len(draft_plan(broken, LAPTOP, tmp_path, MEAN).problems) == 2
    with pytest.raises(InputError, match=r"resources.slots = 3 .*\(and 1 more: --plan shows them\)"):
        plan(broken, tmp_path)


def test_one_trial_alone_needs_no_rung(laptop: Experiment, tmp_path: Path) -> None:
    alone = replace_all(laptop, {"halving.first_rung_tokens": 90_000, "budget.trials": 1})
    assert plan(alone, tmp_path).slots == 2, "the runs that confirm it fill both"
    assert plan(replace_all(alone, {"confirm.top": 0}), tmp_path).slots == 1


def test_an_unknown_hub_model_is_planned_without_its_memory(laptop: Experiment, tmp_path: Path) -> None:
    result = plan(replace_all(laptop, {"base.model.path": "nobody/has-this-model"}), tmp_path)
    assert result.model is None
    assert any("unknown" in note for note in result.notes)


def test_little_data_is_said(laptop: Experiment, tmp_path: Path) -> None:
    enough = plan(laptop, tmp_path, train_examples=750, eval_examples=64)
    assert enough.notes == (), "four passes over 22,500 tokens"
    little = plan(laptop, tmp_path, train_examples=300, eval_examples=2).notes
    assert little == (
        "a trial passes 10 times over its 9,000 tokens, more than 4: give more data, or lower run.max_tokens",
        "held-out replies: 2, below promotion.min_eval_examples = 64: "
        "raise data.eval_fraction or give more data",
    )
    capped = plan(replace_all(laptop, {"base.data.max_eval_examples": 32}), tmp_path, eval_examples=32).notes
    assert "raise data.max_eval_examples" in capped[0]


def test_steps_without_prepared_data_are_the_fewest(laptop: Experiment, tmp_path: Path) -> None:
    result = plan(laptop, tmp_path, mean_example_tokens=None, train_examples=None)
    assert result.data.origin == "unknown"
    assert result.steps[0].to_the_end == -(-90_000 // (4 * 128))


def test_memory_is_that_of_the_hungriest_point(laptop: Experiment, tmp_path: Path) -> None:
    path = "engine.max_tokens_per_micro_batch"
    space = {**laptop.space, path: CategoricalDistribution((512, 4096, 1024))}
    hungry = plan(replace(laptop, space=space), tmp_path).model
    fixed = plan(replace_all(laptop, {f"base.{path}": 4096}), tmp_path).model
    assert hungry is not None
    assert fixed is not None
    assert hungry.memory == fixed.memory


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_range_of_batch_sizes_is_judged_at_its_ends(low: int, more: int) -> None:
    space = {draft.BATCH_PATH: IntDistribution(low, low + more), "optim.lr": FloatDistribution(0.1, 1)}
    experiment = replace(exp4.experiment("cluster"), space=space)
    assert draft.batch_sizes(experiment) == (low, low + more)


def test_planning_is_fast_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from search.cluster import local_machine;"
        "from search.plan import draft_plan; from search.plan_text import print_plan;"
        "from spaces import exp4;"
        f"print_plan(draft_plan(exp4.experiment('cluster'), local_machine(), Path({str(tmp_path)!r})));"
        "heavy = {'torch', 'ray', 'deepspeed', 'transformers', 'mlflow', 'datasets'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "6.05B parameters" in done.stdout
    assert time.monotonic() - started < 5, "2 s on an idle machine"
