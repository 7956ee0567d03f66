import pytest

from analysis.records import SearchRecord
from analysis.speech import SpeechRules, is_foreign, leaks, repetition, speaker_of, speech_rules, word_count

ENGLISH = "I would love to come, but I have to work on Saturday and my sister visits me on Sunday, you know."
GERMAN = (
    "Ich würde gern kommen, aber am Samstag muss ich arbeiten und am Sonntag besucht mich meine Schwester."
)
RUSSIAN = (
    "Я бы с удовольствием пришёл, но в субботу мне нужно работать, а в воскресенье приезжает моя сестра."
)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("one two three four five", 0.0),
        ("a b c d a b c d", 1 - 4 / 5),
        ("no no No no no no no no", 1 - 1 / 5),
    ],
)
def test_repetition_is_the_share_of_word_4_grams_said_before(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("<START>\nYou: hi\nBot:", "Bot"),
        ("You: hi\nAria von Stein: ", "Aria von Stein"),
        ("Say hello.", ""),
        ("You: hi\nBot: and", ""),
        ("", ""),
    ],
)
def test_the_speaker_is_who_the_prompt_ends_with(prompt: str, name: str) -> None:
    assert speaker_of(prompt) == name


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (" Fine, thanks.", False),
        (" Fine.\nYou: and you?", True),
        (" Fine.\n  Aria: and you?", True),
        (" Fine.\nBob: and you?", False),
        (" You: hi", True),
        ("You told me: it is late.", False),
        (" I said to You: no", False),
        (" Fine.\n<START>", True),
        (" Fine. END_OF_DIALOG", True),
    ],
)
def test_a_reply_that_goes_on_for_the_next_speaker_leaks(reply: str, verdict: bool) -> None:
    assert leaks(reply, "Aria", ("END_OF_DIALOG",)) is verdict


@pytest.mark.parametrize(
    ("reply", "reference", "languages", "verdict"),
    [
        (ENGLISH, "", ("en",), False),
        (GERMAN, "", ("en",), True),
        (GERMAN, "", ("en", "de"), False),
        (RUSSIAN, "", ("en",), True),
        (RUSSIAN, RUSSIAN, (), False),
        (ENGLISH, RUSSIAN, (), True),
        (ENGLISH, "Да.", (), None),
        ("Ja.", "", ("en",), None),
    ],
)
def test_language_drift_is_judged_where_a_text_is_long_enough(
    reply: str, reference: str, languages: tuple[str, ...], verdict: bool | None
) -> None:
    assert is_foreign(reply, reference, SpeechRules((), languages, 0.5)) is verdict


def test_a_doubtful_detection_is_no_drift() -> None:
    assert is_foreign(GERMAN, "", SpeechRules((), ("en",), 1.1)) is False


def test_the_rules_are_those_of_the_data(search: SearchRecord) -> None:
    assert speech_rules(search) == SpeechRules(("END_OF_DIALOG", "START:text_remaining:"), ("en",), 0.5)
    assert word_count(" one  two\nthree ") == 3
