import pytest

from train_fn.language import detect, has_foreign_script


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The quick brown fox jumps over the lazy dog.", "en"),
        ("Der schnelle braune Fuchs springt über den faulen Hund.", "de"),
        ("Быстрая лиса прыгает\nчерез ленивую собаку.", "ru"),
        ("我们今天下午要去公园散步，你想和我们一起去吗？", "zh"),
        ("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG", "en"),
    ],
)
def test_languages_are_told_without_a_network(text, language):
    found, score = detect(text)
    assert found == language
    assert 0.5 < score <= 1


def test_nothing_is_detected_in_nothing():
    assert 0 <= detect("")[1] <= 1


@pytest.mark.parametrize(
    ("text", "languages", "verdict"),
    [
        ("да", ("en",), True),
        ("да", ("en", "ru"), False),
        ("早安!", ("en", "de"), True),
        ("Ça va, señor? Tiếng Việt", ("en",), False),
        ("hello 😂😂😂", ("en",), False),
        ("he said да twice", ("en",), False),
        ("", ("en",), False),
        ("…!", ("en",), False),
    ],
)
def test_scripts(text, languages, verdict):
    assert has_foreign_script(text, languages) is verdict
