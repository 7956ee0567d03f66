import pytest

from train_fn.surrogates import half_pair


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("", ""),
        ("a \N{GRINNING FACE}, ж", ""),
        ("cut \ud83d", r"'\ud83d'"),
        ("\ude00 and \ud83d", r"'\ude00'"),
        ("na\udcffme", r"'\udcff'"),
    ],
)
def test_the_first_half_of_a_pair_that_stands_alone_is_found(text: str, half: str) -> None:
    assert half_pair(text) == half
