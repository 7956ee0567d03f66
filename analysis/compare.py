"""Compare what cannot be compared by eye: objectives within a search, and searches with each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.rank import confirmed, standing, trial_lead
from analysis.records import SearchRecord, TrialRecord
from spaces.words import tokens_text
from train_fn.lead import Lead

OBJECTIVE = "optim.objective"


@dataclass(frozen=True)
class Row:
    """One variant, by its best trial."""

    name: str
    trials: int
    finished: int
    doomed: int
    tokens: int
    """Spent by all its trials together, runs that confirm one included."""
    best: TrialRecord | None
    behind: Lead | None
    """By how much the first row's best trial lies below this one after as many tokens; None where they cannot
    be compared."""

    @property
    def behind_text(self) -> str:
        """How far it lies behind the first row, or ahead of it; empty where they cannot be compared."""
        if self.behind is None:
            return ""
        ahead = " ahead" if self.behind.nll < 0 else ""
        at = "" if self.behind.at_tokens is None else f" at {tokens_text(self.behind.at_tokens)} tokens"
        return f"{abs(self.behind.nll):.4f} ± {self.behind.stderr:.4f}{ahead}{at}"


@dataclass(frozen=True)
class Comparison:
    """Several searches."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def objectives(search: SearchRecord) -> tuple[Row, ...]:
    """Compare the training objectives a search tried, the best first; nothing when it has only one.

    Every trial is judged by the same response NLL on the same held-out examples, whatever it trained on.
    """
    if OBJECTIVE not in search.experiment["space"]:
        return ()
    groups: dict[str, list[TrialRecord]] = {}
    for trial in search.trials:
        groups.setdefault(str(trial.config["optim"]["objective"]), []).append(trial)
    return _rows(groups)


def compare(searches: Sequence[SearchRecord]) -> Comparison:
    """Compare the best trials of several searches, the best first.

    Args:
        searches: At least two; the first is the one the others are held against in the warnings.
    """
    first, warnings = searches[0], []
    for other in searches[1:]:
        if other.data_key != first.data_key:
            warnings.append(
                f"{other.name} was judged on other held-out examples than {first.name} (data "
                f"{other.data_key[:12]} and {first.data_key[:12]}): their NLLs are not comparable."
            )
        if other.max_tokens != first.max_tokens:
            warnings.append(
                f"A trial of {other.name} sees {other.max_tokens:,} tokens, one of {first.name} "
                f"{first.max_tokens:,}: part of the difference is the budget."
            )
        ours, theirs = (one.experiment["base"]["model"] for one in (first, other))
        if ours["path"] != theirs["path"] or ours["gguf_file"] != theirs["gguf_file"]:
            warnings.append(f"{other.name} starts from {theirs['path']}, {first.name} from {ours['path']}.")
        if other.status == "running":
            warnings.append(f"{other.name} has not ended.")
    rows = _rows(
        {search.name: list(search.trials) for search in searches}, {s.name: s.data_key for s in searches}
    )
    return Comparison(rows, tuple(warnings))


def _rows(groups: dict[str, list[TrialRecord]], keys: dict[str, str] | None = None) -> tuple[Row, ...]:
    bests = {name: next(iter(standing(some, confirmed(some))), None) for name, some in groups.items()}

    def place(name: str) -> tuple[bool, bool, float]:
        best = bests[name]
        nll = best.eval_nll if best is not None and best.eval_nll is not None else 0.0
        return best is None, best is not None and best.status != "finished", nll

    order = sorted(groups, key=place)
    top = bests[order[0]] if order else None
    rows = []
    for name in order:
        best, own = bests[name], [trial for trial in groups[name] if trial.confirms is None]
        same = keys is None or keys[name] == keys[order[0]]
        rows.append(
            Row(
                name=name,
                trials=sum(trial.finishes is None for trial in own),
                finished=sum(trial.status == "finished" for trial in own),
                doomed=sum(trial.doomed for trial in own),
                tokens=sum(trial.tokens_seen for trial in groups[name]),
                best=best,
                behind=None
                if top is None or best is None or best is top or not same
                else trial_lead(top, best),
            )
        )
    return tuple(rows)
