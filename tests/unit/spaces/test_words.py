import pytest

from spaces.words import count_text, list_text, params_text, seconds_text, tokens_text, trial_id, value_text


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
