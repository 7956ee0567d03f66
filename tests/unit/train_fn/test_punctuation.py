import pytest

from train_fn.punctuation import is_unbalanced


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("", False),
        ('a 6" ruler', False),
        ('a 6" ruler is "long"', False),
        ('"5"', False),
        ("“curly” quotes", False),
        ("“curly quotes", True),
        ("2 * 3 * 4", False),
        ("**bold* text", True),
        ("rock 'n' roll, 'tis", False),
        ('"one" "two', True),
    ],
)
def test_balance(text, verdict):
    assert is_unbalanced(text) is verdict
