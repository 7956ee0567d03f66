import pytest

from spaces.words import (
    confirmation_lines,
    count_text,
    lead_text,
    list_text,
    params_text,
    seconds_text,
    times_text,
    tokens_text,
    trial_id,
    value_text,
)
from train_fn.confirmation import Confirmation, Confirmed, SeedLead, Unstable
from train_fn.lead import Lead
from train_fn.times import Times


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (0, "0"),
        (812, "812"),
        (1000, "1.0k"),
        (20_100, "20.1k"),
        (1_350_000, "1.35M"),
        (2_100_000_000, "2.10B"),
    ],
)
def test_tokens(tokens: int, text: str) -> None:
    assert tokens_text(tokens) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0.42, "0.4s"),
        (42, "42s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (185, "3m 05s"),
        (7620, "2h 07m"),
        (97_200, "1d 03h"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_sampled_values_are_named_by_the_end_of_their_path() -> None:
    params = {"optim.lr": 0.000123456, "optim.effective_batch_size": 1024, "optim.schedule": "cosine"}
    assert value_text(True) == "True"
    assert params_text(params) == "effective_batch_size=1,024 lr=0.000123 schedule=cosine"


def test_a_trial_is_named_by_experiment_and_number() -> None:
    assert trial_id("exp4", 7) == "exp4-0007"
    assert trial_id("exp4", 12345) == "exp4-12345"


def test_counts_and_lists() -> None:
    assert [count_text(n, "trial") for n in (0, 1, 2)] == ["no trials", "1 trial", "2 trials"]
    assert list_text(["a"]) == "a"
    assert list_text(["a", "b", "c"]) == "a, b and c"
    assert list_text(list("abcdefgh"), most=4) == "a, b, c and 5 more"
    assert list_text([]) == "none"


@pytest.mark.parametrize(
    ("lead", "words"),
    [
        (Lead(0.3, 0.1), "0.3000 ± 0.1000 nats per token below it: more than noise (2 paired "),
        (Lead(0.1, 0.1), "0.1000 ± 0.1000 nats per token below it: within noise ("),
        (Lead(-0.1, 0.1), "0.1000 ± 0.1000 nats per token above it: no lead ("),
        (Lead(-0.3, 0.1), "0.3000 ± 0.1000 nats per token above it: behind by more than noise ("),
        (Lead(0.3, 0.1, 3_000), " below it at 3.0k tokens: more than noise ("),
    ],
)  # fmt: skip
def test_a_lead_says_to_which_side_and_whether_it_exceeds_noise(lead: Lead, words: str) -> None:
    assert words in lead_text(lead, "it")


BEST = Confirmed(7, (0, 1), (4.154, 4.161), 4.1575, 0.0035)
SECOND = Confirmed(3, (0, 1), (4.16, 4.17), 4.165, 0.0035)


def test_a_confirmation_alone_says_that_nothing_was_compared() -> None:
    assert confirmation_lines(Confirmation(7, (BEST,), (), None, (7,), ""), "exp4") == [
        "confirmed with 1 other seed: 4.1540, 4.1610, mean 4.1575 ± 0.0035",
        "no second trial is confirmed, so there is no lead to hold against the noise of seeds",
    ]


def test_a_confirmation_names_a_clear_lead_or_the_tie_and_its_rule() -> None:
    clear = Confirmation(7, (BEST, SECOND), (), SeedLead(7, 3, 0.0075, 0.007), (7,), "")
    assert confirmation_lines(clear, "exp4")[1] == (
        "the lead of its mean over exp4-0003 exceeds the noise of seeds and examples (0.0075 against 0.0070)"
    )
    tie = Confirmation(3, (BEST, SECOND), (), SeedLead(7, 3, 0.0075, 0.008), (7, 3), "shorter training")
    assert confirmation_lines(tie, "exp4") == [
        "confirmed with 1 other seed: 4.1600, 4.1700, mean 4.1650 ± 0.0035",
        "a tie with exp4-0007 (mean 4.1575 ± 0.0035): the lead of the lowest mean is within the noise "
        "of seeds and examples (0.0075 against 0.0080); preferred for shorter training",
    ]


def test_what_another_seed_ruined_is_named() -> None:
    ruined = Unstable(5, ((1, "diverged"), (2, "overflowing")))
    assert confirmation_lines(Confirmation(5, (), (ruined,), None, (), ""), "exp4") == [
        "exp4-0005 is not confirmed: diverged with seed 1 and overflowing with seed 2"
    ]


def test_times_are_written_without_the_parts_that_took_none() -> None:
    assert times_text(Times(start_s=1.24, forward_s=80, step_s=0.01)) == "1m 21s (start 1.2s, forward 1m 20s)"
