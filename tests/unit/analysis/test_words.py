import pytest

from analysis import words
from search import words as search_words


@pytest.mark.parametrize("tokens", [0, 812, 20_050, 1_350_000, 2_100_000_000])
def test_tokens_read_as_they_do_in_the_search(tokens: int) -> None:
    assert words.tokens_text(tokens) == search_words.tokens_text(tokens)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4s"), (42, "42s"), (185, "3m 05s"), (7620, "2h 07m"), (97200, "1d 03h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert words.seconds_text(seconds) == text


def test_params_are_named_by_the_end_of_their_paths() -> None:
    params = {"optim.lr": 0.00012345, "optim.effective_batch_size": 1024, "optim.schedule": "cosine"}
    assert words.params_text(params) == "effective_batch_size=1,024  lr=0.000123  schedule=cosine"
    assert words.value_text(True) == "True"


def test_counts_and_lists() -> None:
    assert [words.count_text(n, "trial") for n in (0, 1, 2)] == ["no trials", "1 trial", "2 trials"]
    assert words.list_text(["a"]) == "a"
    assert words.list_text(["a", "b", "c"]) == "a, b and c"
    assert words.list_text(list("abcdefgh"), most=4) == "a, b, c and 5 more"
    assert words.list_text([]) == "none"
