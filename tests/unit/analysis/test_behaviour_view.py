import io
from dataclasses import replace

import pytest
from rich.console import Console

from analysis.behaviour_records import FIGURES, Behaviour, Estimate, Exchange, Listened
from analysis.behaviour_table import print_behaviour
from analysis.behaviour_view import KINDS, BehaviourView, Row, command, headline, view
from analysis.records import SearchRecord
from spaces.promotion import BehaviourConfig

TALK = (
    Exchange("a.jsonl:1#0", "<START>\nYou: hi\nBot:", " one two three", " well\nYou: no", ""),
    Exchange("a.jsonl:2#0", "<START>\nYou: bye\nBot:", ' say "it', " fine", "fine fine"),
)


def behaviour(model: str, **figures: tuple[float, float, float]) -> Behaviour:
    """A model of which only these figures are known."""
    known = {name: Estimate(*values, n=2) for name, values in figures.items()}
    return Behaviour(model, "folder", "key", {name: known.get(name) for name in FIGURES}, TALK)


def listened(*models: Behaviour) -> Listened:
    return Listened(BehaviourConfig(), "data-1", models)


def rows(search: SearchRecord, *models: Behaviour) -> dict[str, Row]:
    return {row.name: row for row in view(search, listened(*models)).rows}


def test_every_figure_is_shown_and_explained_in_a_sentence() -> None:
    assert [kind.name for kind in KINDS] == list(FIGURES)
    assert all(kind.told.endswith(".") for kind in KINDS)


@pytest.mark.parametrize(
    ("figure", "base", "trial", "verdict"),
    [
        ("attentiveness", (0.1, 0.0, 0.2), (0.5, 0.3, 0.7), "better"),
        ("attentiveness", (0.5, 0.3, 0.7), (0.1, 0.0, 0.2), "worse"),
        ("attentiveness", (0.1, 0.0, 0.2), (0.2, 0.15, 0.3), ""),
        ("leaked", (0.5, 0.4, 0.6), (0.1, 0.0, 0.2), "better"),
        ("leaked", (0.1, 0.0, 0.2), (0.5, 0.4, 0.6), "worse"),
        ("length_ratio", (3.0, 2.0, 4.0), (0.5, 0.4, 0.9), "short"),
        ("length_ratio", (0.5, 0.4, 0.9), (3.0, 2.0, 4.0), "long"),
        ("length_ratio", (3.0, 2.0, 4.0), (1.0, 0.9, 1.1), ""),
        ("train_minus_eval", (0.0, -0.1, 0.1), (-2.0, -3.0, -1.0), ""),
    ],
)
def test_a_verdict_is_given_where_the_intervals_leave_no_doubt(
    search: SearchRecord,
    figure: str,
    base: tuple[float, float, float],
    trial: tuple[float, float, float],
    verdict: str,
) -> None:
    models = (behaviour("base", **{figure: base}), behaviour("exp9-0001", **{figure: trial}))
    cell = rows(search, *models)[figure].cells[1]
    assert cell is not None
    assert cell.verdict == verdict


def test_cells_lie_on_the_scale_of_their_row(search: SearchRecord) -> None:
    models = (behaviour("base", leaked=(0.1, 0.0, 0.2)), behaviour("final", leaked=(0.3, 0.2, 0.4)))
    base, final = rows(search, *models)["leaked"].cells
    assert base is not None
    assert final is not None
    assert (base.low, base.middle, base.high) == pytest.approx((0, 0.25, 0.5))
    assert (final.low, final.middle, final.high) == pytest.approx((0.5, 0.75, 1))
    assert (base.value, base.interval) == ("10%", "0% to 20%")
    assert rows(search, *models)["ended"].cells == (None, None)


def test_a_figure_of_few_replies_says_of_how_many(search: SearchRecord) -> None:
    one = behaviour("base", language_drift=(0.0, 0.0, 0.8))
    figures = {**one.figures, "language_drift": Estimate(0.0, 0.0, 0.8, 1)}
    cell = rows(search, replace(one, figures=figures))["language_drift"].cells[0]
    assert cell is not None
    assert cell.interval == "0% to 80%, of 1"


def test_the_true_replies_are_measured_as_the_models_are(search: SearchRecord) -> None:
    found = rows(search, behaviour("base"))
    told = {name: row.reference for name, row in found.items() if row.reference}
    assert told == {"reply_words": "2.5", "repetition": "0%", "leaked": "0%", "unbalanced": "50%"}


def test_answers_stand_side_by_side(search: SearchRecord) -> None:
    shown: BehaviourView = view(search, listened(behaviour("base"), behaviour("final")))
    assert shown.models == ("base", "final")
    assert [one.id for one in shown.answers] == ["a.jsonl:1#0", "a.jsonl:2#0"]
    assert shown.answers[1].replies == (("base", "fine", "fine fine"), ("final", "fine", "fine fine"))
    assert shown.setting.startswith("2 held-out prompts, answered in at most 96 tokens: sampled (temp")


def test_one_line_tells_the_most_important_figures() -> None:
    one = behaviour("exp9-0001", attentiveness=(0.1234, 0.1, 0.2), leaked=(0.25, 0.1, 0.4))
    assert headline(one) == "exp9-0001: attentiveness 0.123, leaked markers 25%"


def test_the_terminal_shows_figures_exchanges_and_what_comes_next(search: SearchRecord) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False, markup=False)
    both = (behaviour("base", leaked=(0.1, 0.0, 0.2)), behaviour("exp9-0001", leaked=(0.5, 0.4, 0.6)))
    print_behaviour(console, search, listened(*both), 1)
    text = out.getvalue()
    assert "10% (0% to 20%)" in text
    assert "50% (40% to 60%) worse" in text
    assert "a.jsonl:1#0" in text
    assert "a.jsonl:2#0" not in text
    assert "(nothing)" in text
    assert f"`{command(search, 'report')}` shows all of it" in text
    assert command(search, "report").startswith("python -m analysis.report exp9 --storage ")
