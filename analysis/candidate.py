"""Who may be promoted, and by which rules."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from analysis import behaviour_records
from analysis.rank import answer
from analysis.records import SearchRecord, TrialRecord
from spaces.override import parse
from spaces.paths import field_type, nearest
from spaces.promotion import BehaviourConfig, PromotionConfig
from train_fn.errors import InputError

GROUPS: Mapping[str, type] = {"promotion": PromotionConfig, "behaviour": BehaviourConfig}


def choose_candidate(search: SearchRecord, wanted: int | None) -> TrialRecord:
    """Return the best finished trial, or the finished one that the user names.

    Raises:
        InputError: The search has not ended, no trial finished, or the one named did not.
    """
    if search.status == "running":
        raise InputError(
            f"search {search.name!r} is still running (or its command was killed); let "
            f"`python -m search.run {search.name}` end first"
        )
    if wanted is None:
        best = answer(search).best
        if best is None or best.status != "finished":
            raise InputError(
                f"no trial of {search.name!r} has finished, so there is nothing to promote; go on with "
                f"`python -m search.run {search.name}`"
            )
        return best
    named = next((trial for trial in search.own if trial.number == wanted), None)
    if named is None or named.status != "finished":
        done = ", ".join(str(trial.number) for trial in search.own if trial.status == "finished")
        what = f"is {named.status}" if named is not None else _no_candidate(search, wanted)
        raise InputError(f"--trial {wanted} {what}; finished are {done or 'none'}")
    return named


def _no_candidate(search: SearchRecord, wanted: int) -> str:
    """Say why a number that is none of a trial that was tried names nothing to promote."""
    run = next((trial for trial in search.trials if trial.number == wanted), None)
    if run is None:
        return "is not there"
    return f"is trial {run.confirms} once more, with another seed"


def settings_of(search: SearchRecord, changes: Sequence[str]) -> tuple[PromotionConfig, BehaviourConfig]:
    """Return the gate and the way of listening as the experiment has them, with `path=value` changes.

    A search that was run before these groups existed has their defaults.

    Raises:
        InputError: A change names no field of them, or breaks a rule.
    """
    said = search.experiment
    rules = PromotionConfig(**said["promotion"]) if "promotion" in said else PromotionConfig()
    made: dict[str, Any] = {"promotion": rules, "behaviour": behaviour_records.settings_of(search)}
    for change in changes:
        path, equals, text = change.partition("=")
        group, _, name = path.strip().partition(".")
        known = [f"{g}.{field.name}" for g, kind in GROUPS.items() for field in dataclasses.fields(kind)]
        if path.strip() not in known:
            raise InputError(f"--set {change!r} changes nothing of a promotion{nearest(path, known)}")
        if not equals:
            raise InputError(f"--set {change!r} has no '='; write --set {change.strip()}=VALUE")
        kind = field_type(made[group], name)
        made[group] = dataclasses.replace(
            made[group], **{name: parse(text.strip(), kind, path.strip(), getattr(made[group], name))}
        )
    return made["promotion"], made["behaviour"]
