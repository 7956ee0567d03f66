"""How behaviour is shown, on the terminal and on the page: rows of figures, models side by side."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.behaviour_records import BASE, Behaviour, Estimate, Exchange, Listened
from analysis.records import SearchRecord
from analysis.speech import SpeechRules, leaks, repetition, speaker_of, speech_rules, word_count
from train_fn.punctuation import is_unbalanced
from train_fn.working_copy import shown

Verdict = Literal["better", "worse", "short", "long", ""]
Better = Literal["lower", "higher", "one", ""]


@dataclass(frozen=True)
class _Kind:
    """What a figure is."""

    name: str
    label: str
    told: str
    better: Better
    is_share: bool = False


KINDS = (
    _Kind(
        "eval_nll",
        "eval NLL",
        "Nats per token of the true replies to held-out prompts. Lower is better.",
        "lower",
    ),
    _Kind(
        "train_minus_eval",
        "train − eval NLL",
        "Near 0 it does as well on new dialogues; far below 0 it knows its examples by heart.",
        "",
    ),
    _Kind(
        "attentiveness",
        "attentiveness",
        "Nats per token that the true reply costs more after another prompt. At 0 the prompt is not read.",
        "higher",
    ),
    _Kind(
        "persona_adherence_plain",
        "persona, plain",
        "The same with only the persona exchanged, written in sentences.",
        "higher",
    ),
    _Kind(
        "persona_adherence_wpp",
        "persona, W++",
        "The same with the persona written in W++.",
        "higher",
    ),
    _Kind(
        "length_ratio",
        "length ratio",
        "Words of the replies over words of the true ones. Below 1 they are short, above 1 long.",
        "one",
    ),
    _Kind("reply_words", "words in a reply", "Mean of the sampled replies.", ""),
    _Kind("repetition", "repetition", "Mean share of word 4-grams said before in the reply.", "lower", True),
    _Kind(
        "leaked",
        "leaked markers",
        "Share of replies that speak for the next speaker or show a marker.",
        "lower",
        True,
    ),
    _Kind("unbalanced", 'unbalanced * or "', "Share of replies with an odd number of either.", "lower", True),
    _Kind(
        "language_drift",
        "language drift",
        "Share of the replies long enough to tell that are in another language.",
        "lower",
        True,
    ),
    _Kind("ended", "ended", "Share of replies that reach the end token in time.", "higher", True),
)


@dataclass(frozen=True)
class Cell:
    """A figure of one model."""

    value: str
    interval: str
    """With the number of replies judged, where not all could be."""
    verdict: Verdict
    """Against the base model, or of the length against the references, where the intervals leave no doubt."""
    low: float
    middle: float
    high: float
    """Where interval and value lie on the scale of the row, from 0 to 1."""


@dataclass(frozen=True)
class Row:
    """A figure of all models."""

    name: str
    label: str
    told: str
    cells: tuple[Cell | None, ...]
    reference: str
    """The same of the true replies, empty where that says nothing."""


@dataclass(frozen=True)
class Answers:
    """What was said to one prompt."""

    id: str
    prompt: str
    reference: str
    replies: tuple[tuple[str, str, str], ...]
    """Name of a model, what it sampled, and its likeliest reply."""


@dataclass(frozen=True)
class BehaviourView:
    """Everything shown of how the models of a search behave."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    answers: tuple[Answers, ...]
    setting: str
    """How the models were listened to, in a sentence."""


def view(search: SearchRecord, listened: Listened) -> BehaviourView:
    """Lay the measured models side by side: the base, trials, the final one."""
    models, rules = listened.models, speech_rules(search)
    base = listened.model(BASE)
    exchanges = models[0].exchanges if models else ()
    return BehaviourView(
        models=tuple(one.model for one in models),
        rows=tuple(_row(kind, models, base, _reference(kind.name, exchanges, rules)) for kind in KINDS),
        answers=tuple(
            Answers(
                one.id,
                one.prompt,
                one.reference.strip(),
                tuple(
                    (m.model, m.exchanges[i].sampled.strip(), m.exchanges[i].greedy.strip()) for m in models
                ),
            )
            for i, one in enumerate(exchanges)
        ),
        setting=_setting(listened, len(exchanges)),
    )


def headline(model: Behaviour) -> str:
    """Say in one line how a model behaves."""
    kinds = {kind.name: kind for kind in KINDS}
    parts = []
    for name in ("attentiveness", "length_ratio", "repetition", "leaked", "ended"):
        figure = model.figures[name]
        if figure is not None:
            parts.append(f"{kinds[name].label} {_text(figure.value, kinds[name])}")
    return f"{model.model}: {', '.join(parts)}"


def command(search: SearchRecord, module: str) -> str:
    """Write the command of this package that goes on with a search."""
    storage = shown(search.folder.parent)
    return f"python -m analysis.{module} {search.name}" + (
        "" if storage == "runs" else f" --storage {shlex.quote(storage)}"
    )


def _row(kind: _Kind, models: Sequence[Behaviour], base: Behaviour | None, reference: str) -> Row:
    figures = [model.figures[kind.name] for model in models]
    known = [figure for figure in figures if figure is not None]
    ends = [end for figure in known for end in (figure.low, figure.high)]
    low, width = (min(ends), (max(ends) - min(ends)) or 1.0) if ends else (0.0, 1.0)
    standard = None if base is None else base.figures[kind.name]
    cells = tuple(
        None
        if figure is None
        else Cell(
            value=_text(figure.value, kind),
            interval=_interval(kind, figure, len(model.exchanges)),
            verdict=_verdict(kind, figure, standard),
            low=(figure.low - low) / width,
            middle=(figure.value - low) / width,
            high=(figure.high - low) / width,
        )
        for model, figure in zip(models, figures, strict=True)
    )
    return Row(kind.name, kind.label, kind.told, cells, reference)


def _verdict(kind: _Kind, figure: Estimate, base: Estimate | None) -> Verdict:
    """Judge a figure; nothing is said while the two intervals overlap."""
    if kind.better == "one":
        return "short" if figure.high < 1 else "long" if figure.low > 1 else ""
    if base is None or not kind.better:
        return ""
    if figure.high < base.low:
        return "better" if kind.better == "lower" else "worse"
    if figure.low > base.high:
        return "better" if kind.better == "higher" else "worse"
    return ""


def _reference(name: str, exchanges: Sequence[Exchange], rules: SpeechRules) -> str:
    """Return a figure of the true replies, computed as that of the models."""
    measures: dict[str, Callable[[Exchange], float]] = {
        "reply_words": lambda one: word_count(one.reference),
        "repetition": lambda one: repetition(one.reference),
        "leaked": lambda one: leaks(one.reference, speaker_of(one.prompt), rules.markers),
        "unbalanced": lambda one: is_unbalanced(one.reference),
    }
    if name not in measures or not exchanges:
        return ""
    kind = next(kind for kind in KINDS if kind.name == name)
    return _text(sum(measures[name](one) for one in exchanges) / len(exchanges), kind)


def _interval(kind: _Kind, figure: Estimate, replies: int) -> str:
    told = f"{_text(figure.low, kind)} to {_text(figure.high, kind)}"
    return f"{told}, of {figure.n}" if figure.n < replies else told


def _text(value: float, kind: _Kind) -> str:
    if kind.is_share:
        return f"{value:.0%}"
    return (f"{value:.1f}" if kind.name == "reply_words" else f"{value:.3f}").replace("-", "−")


def _setting(listened: Listened, prompts: int) -> str:
    one = listened.settings
    return (
        f"{prompts} held-out prompts, answered in at most {one.max_new_tokens} tokens: sampled (temperature "
        f"{one.temperature:g}, top p {one.top_p:g}, top k {one.top_k}, repetition penalty "
        f"{one.repetition_penalty:g}, seed {one.seed}) and greedily."
    )
