"""What the run of a search says of itself in MLflow, in Markdown: the answer first. Pure; no MLflow here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.plan_text import distribution_text
from search.standing import best, ranked
from search.state import SearchState, finishing, tokens_saved, tokens_spent, tried
from search.summary import count_line, why_best
from search.trial_state import TrialState
from spaces.experiment import Experiment
from spaces.words import list_text, markdown_text, short, tokens_text, trial_id, value_text

BEST_SHOWN = 5
STOPPED_SHOWN = 8
MAX_REASON_CHARS = 240
_FIRST = ("optim.lr", "optim.effective_batch_size")


@dataclass(frozen=True)
class Links:
    """Addresses in MLflow's pages, relative to its start page."""

    trials: str
    """The table of all trials."""
    report: str
    runs: Mapping[int, str]
    """The run of each trial that has one by now."""


def describe_search(experiment: Experiment, state: SearchState, links: Links) -> str:
    """Describe a search as far as it came: its best trial, the next ones, and why the others stopped.

    MLflow folds a description to 100 pixels, of which the upper 40 can be clicked: two plain lines. These are
    the best trial and where to look further, without a blank line between them.

    Args:
        experiment: What is searched.
        state: What the ledger says.
        links: Where MLflow shows the rest.
    """
    parts = [
        f"**{_headline(experiment.name, state)}**  \n{_places(experiment.name, links)}",
        _reasons(experiment.name, state),
        _progress(experiment, state),
        _best_table(experiment, state, links),
        _stopped_table(experiment.name, state, links),
        _about(experiment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(name: str, state: SearchState) -> str:
    top = best(state)
    if top is None or top.eval_nll is None:
        over = state.status in ("finished", "failed")
        why = "no trial was evaluated without diverging or failing" if over else "no trial was evaluated yet"
        return f"{name}: {why}"
    so_far = "" if state.status == "finished" else " so far"
    found = [
        f"{_words(path)} {value_text(top.params[path])}" for path in _order(top.params) if path in _FIRST
    ]
    found.append(f"eval NLL {top.eval_nll:.4f}")
    return f"{trial_id(name, top.trial)} is the best{so_far}: {', '.join(found)}"


def _reasons(name: str, state: SearchState) -> str:
    top = best(state)
    if top is None:
        return ""
    others = [
        f"{_words(path)} {value_text(value)}"
        for path, value in sorted(top.params.items())
        if path not in _FIRST
    ]
    sentences = [
        f"{_nll(top)} after {tokens_text(top.eval_tokens)} tokens"
        + (f", with {list_text(others)}" if others else ""),
        *why_best(state, top, name),
    ]
    return "\n".join(f"* {markdown_text(sentence)}" for sentence in sentences)


def _places(name: str, links: Links) -> str:
    report = f"[the report]({links.report}), put there by `python -m analysis.report {name}`"
    return f"See [all trials by eval NLL]({links.trials}) and {report}."


def _progress(experiment: Experiment, state: SearchState) -> str:
    planned = experiment.budget.trials
    spent = tokens_text(tokens_spent(state))
    saved = tokens_text(tokens_saved(state, experiment.base.run.max_tokens))
    done = f"{count_line(state)}; the budget is {planned}"
    return f"{done}. {spent} tokens spent, {saved} saved by stopping trials early."


def _best_table(experiment: Experiment, state: SearchState, links: Links) -> str:
    top = best(state)
    if top is None:
        return ""
    order = [top, *(trial for trial in ranked(state) if trial.trial != top.trial)]
    paths = _order(experiment.space)
    rows = [
        (
            _link(experiment.name, trial, links),
            trial.status,
            _nll(trial),
            *(value_text(trial.params[path]) if path in trial.params else "" for path in paths),
            tokens_text(trial.tokens_seen),
        )
        for trial in order[:BEST_SHOWN]
    ]
    return "**Best trials**\n\n" + _table(
        ("trial", "status", "eval NLL", *map(_words, paths), "tokens"), rows
    )


def _stopped_table(name: str, state: SearchState, links: Links) -> str:
    """List some that were stopped, with the reason of each: first those that broke, then the last halved."""
    ends = ("halved", "diverged", "overflowing", "failed")
    stopped = [trial for trial in (*tried(state), *finishing(state)) if trial.status in ends]
    stopped.sort(key=lambda trial: (trial.status == "halved", -(trial.ended or 0.0)))
    if not stopped:
        return ""
    rows = [
        (_link(name, trial, links), trial.status, markdown_text(_cut(trial.reason)))
        for trial in stopped[:STOPPED_SHOWN]
    ]
    more = len(stopped) - len(rows)
    left = f"\n\n{more} more in [all trials]({links.trials}), each with the tag `reason`." if more else ""
    return "**Stopped**\n\n" + _table(("trial", "status", "why"), rows) + left


def _about(experiment: Experiment) -> str:
    rows = [(f"`{path}`", markdown_text(distribution_text(what))) for path, what in experiment.space.items()]
    return (
        f"### What is searched\n\n{markdown_text(experiment.description)} (profile {experiment.profile})\n\n"
        f"{_table(('sampled', 'from'), rows)}\n\n"
        "One child run for each trial. The step of every figure is tokens seen, so trials with different "
        "batch sizes compare. `eval/nll` is the response NLL per token on the same held-out examples for "
        "every trial; the tags `status` and `reason` say how a trial ended and why. A run with the tag "
        "`confirms` is the trial of that number once more, with another seed, and one with the tag "
        "`finishes` a halved trial once more, to its end."
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; MLflow sets its columns without any space between them, so each cell brings some."""
    lines = [[f"{cell}&nbsp;&nbsp;&nbsp;" for cell in line] for line in (header, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], [":---"] * len(header), *lines[1:]))


def _order(paths: Iterable[str]) -> list[str]:
    """Put learning rate and batch size first: they are what is looked for."""
    return sorted(paths, key=lambda path: (_FIRST.index(path) if path in _FIRST else len(_FIRST), path))


def _link(name: str, trial: TrialState, links: Links) -> str:
    shown = trial_id(name, trial.trial)
    return f"[{shown}]({links.runs[trial.trial]})" if trial.trial in links.runs else shown


def _nll(trial: TrialState) -> str:
    assert trial.eval_nll is not None
    error = "" if trial.eval_nll_stderr is None else f" ± {trial.eval_nll_stderr:.4f}"
    return f"{trial.eval_nll:.4f}{error}"


def _words(path: str) -> str:
    return short(path).replace("_", " ")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 3] + "..."
