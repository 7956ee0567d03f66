from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.cluster import Cluster, Node
from search.costs import UTILISATION, Tokens, search_disk, search_hours, search_tokens
from search.memory import checkpoint_gib, weights_gib
from search.model_config import KNOWN
from search.model_shape import shape_of
from spaces.experiment import ConfirmConfig, HalvingConfig
from train_fn.config import LoraConfig, ModelConfig, TrainConfig

GPT_J = shape_of(KNOWN["eleutherai/gpt-j-6b"], "EleutherAI/gpt-j-6b")
OFF = ConfirmConfig(top=0)
TOKENS = Tokens(at_most=9_000_000, expected=3_000_000, survivors=(2,), finished=2)


def machine(gpu_name: str) -> Cluster:
    return Cluster((Node(16, 4, 256, 80, "node", gpu_name),), local=False)


def test_a_search_of_two_is_played_by_hand() -> None:
    """The first arrival goes on; the second when it is the better one, half of the time."""
    tokens = search_tokens(2, HalvingConfig(first_rung_tokens=100), 200, OFF)
    assert tokens.at_most == 400
    assert tokens.expected == pytest.approx((200 + 200 + 200 + 100) / 2, rel=0.1)
    assert tokens.finished in (1, 2)


def test_survivors_are_about_one_in_eta() -> None:
    tokens = search_tokens(90, HalvingConfig(eta=3, first_rung_tokens=1_000), 27_000, OFF)
    assert tokens.survivors[0] == pytest.approx(90 / 3, abs=3)
    assert tokens.survivors == tuple(sorted(tokens.survivors, reverse=True))
    assert tokens.survivors[-1] == tokens.finished


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(2, 5), st.integers(1, 3), st.integers(100, 5_000))
def test_halving_never_costs_more_than_no_halving(trials: int, eta: int, brackets: int, first: int) -> None:
    tokens = search_tokens(
        trials, HalvingConfig(eta=eta, brackets=brackets, first_rung_tokens=first), 10_000, OFF
    )
    assert 0 < tokens.expected <= tokens.at_most == trials * 10_000
    assert tokens.finished <= trials


def test_what_confirms_the_best_is_counted_in_whole_runs() -> None:
    halving = HalvingConfig(first_rung_tokens=1_000)
    bare, confirmed = (search_tokens(9, halving, 9_000, c) for c in (OFF, ConfirmConfig(top=2, seeds=3)))
    assert confirmed.confirming == 6
    each = 1 + len(bare.survivors)
    assert (
        confirmed.evaluations - bare.evaluations
        == confirmed.most_evaluations - bare.most_evaluations
        == 6 * each
    )
    assert bare.evaluations < bare.most_evaluations
    assert confirmed.at_most - bare.at_most == confirmed.expected - bare.expected == 6 * 9_000
    assert search_tokens(1, halving, 9_000, ConfirmConfig(top=2, seeds=3)).confirming == 3
    disk = [search_disk(GPT_J, TrainConfig(), "bf16", 9, some, 1, 100.0, 5) for some in (bare, confirmed)]
    assert disk[0] == disk[1], "no weights of theirs are kept"


def test_without_rungs_every_trial_goes_to_its_end() -> None:
    tokens = search_tokens(5, HalvingConfig(first_rung_tokens=10_000), 10_000, OFF)
    assert tokens == Tokens(50_000, 50_000, (), 5, evaluations=6, most_evaluations=6)


def test_hours_are_flops_over_speed() -> None:
    config = TrainConfig()
    hours = search_hours(GPT_J, config, TOKENS, 0, machine("NVIDIA A100-SXM4-80GB"), "bf16", 4, gpu=True)
    want = 6 * GPT_J.parameters * TOKENS.expected / (UTILISATION * 312e12) / 3600
    assert hours.expected == pytest.approx(want)
    assert hours.wall_expected == pytest.approx(want / 4)
    assert hours.at_most == pytest.approx(3 * want)
    assert "40% of 312 TFLOP/s, the peak of NVIDIA A100" in hours.assumption
    unknown = search_hours(GPT_J, config, TOKENS, 0, machine(""), "bf16", 4, gpu=True)
    assert "unknown GPU" in unknown.assumption
    thrifty = TrainConfig(model=ModelConfig(activation_checkpointing=True, lora=LoraConfig(rank=8)))
    same = search_hours(GPT_J, thrifty, TOKENS, 0, machine("A100"), "bf16", 4, gpu=True)
    assert same.expected == pytest.approx(hours.expected), (
        "adapters save the two FLOPs that checkpointing adds"
    )
    judged = replace(TOKENS, evaluations=3, most_evaluations=9)
    evaluated = search_hours(GPT_J, config, judged, 3_000_000, machine("A100"), "bf16", 4, gpu=True)
    assert evaluated.expected == pytest.approx(2 * hours.expected), "forward is a third of a step"
    assert evaluated.at_most == pytest.approx(2 * hours.at_most), "where all trials reach all rungs"


def test_longer_names_are_found_before_shorter_ones() -> None:
    def peak(name: str) -> str:
        return search_hours(GPT_J, TrainConfig(), TOKENS, 0, machine(name), "bf16", 1, gpu=True).assumption

    assert "362 TFLOP/s" in peak("NVIDIA L40S")
    assert "155 TFLOP/s" in peak("NVIDIA RTX A6000")
    assert "150 TFLOP/s" in peak("NVIDIA A40")
    assert "312 TFLOP/s" in peak("A100")
    assert "121 TFLOP/s" in peak("NVIDIA L4")


def test_disk_holds_three_checkpoints_per_slot_and_the_weights_of_the_best() -> None:
    config = TrainConfig()
    disk = search_disk(GPT_J, config, "bf16", 9, TOKENS, 3, 100.0, 5)
    checkpoint, weights = checkpoint_gib(GPT_J, config, "bf16"), weights_gib(GPT_J, "bf16")
    kept = min(5, TOKENS.finished)
    assert disk.expected_gib == pytest.approx(9 * checkpoint + (1 + 3 + kept) * weights)
    assert disk.at_most_gib == pytest.approx(9 * checkpoint + (1 + 3 + 5) * weights)
    assert disk.there_gib == 0
    few = search_disk(GPT_J, config, "bf16", 2, TOKENS, 3, 100.0, 5)
    assert few.at_most_gib == pytest.approx(9 * checkpoint + (1 + 2 + 2) * weights)


def test_weights_that_lie_there_are_of_trials_that_have_finished() -> None:
    config, weights = TrainConfig(), weights_gib(GPT_J, "bf16")
    new, later = (search_disk(GPT_J, config, "bf16", 9, TOKENS, 3, 100.0, 7, there) for there in (0, 6))
    assert later.there_gib == pytest.approx(6 * weights)
    assert later.expected_gib - new.expected_gib == pytest.approx((6 - TOKENS.finished) * weights)
    assert later.at_most_gib == new.at_most_gib
