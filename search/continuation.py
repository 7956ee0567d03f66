"""A search goes on only as what it was: what may change between two commands, and what may not."""

from collections.abc import Iterable, Iterator, Mapping

from search.code_version import CodeVersion, changed_sources
from search.events import Event, SearchStarted
from spaces.describe import describe
from spaces.experiment import Experiment
from train_fn.errors import InputError

_MAY_CHANGE = (
    "budget", "confirm", "resources", "tracking", "behaviour", "promotion", "description",
    "base.run.max_lost_minutes", "base.run.mtbf_hours",
)  # fmt: skip
"""None of these changes what a trial means: more trials, other machines, another place for the figures, what
is asked of the winner, how often a trial is saved."""
_SHOWN = 3


def check_unchanged(experiment: Experiment, data_key: str | None, past: Iterable[Event]) -> None:
    """Refuse to mix two different searches in one folder.

    Args:
        experiment: What is asked for now.
        data_key: Hash of its prepared data; None before it is prepared.
        past: The ledger.

    Raises:
        InputError: The experiment or its data differ from those the search was started with.
    """
    started = next((event for event in reversed(list(past)) if isinstance(event, SearchStarted)), None)
    if started is None:
        return
    before = {path: value for path, value in _flat(started.experiment) if not path.startswith(_MAY_CHANGE)}
    now = {path: value for path, value in _flat(describe(experiment)) if not path.startswith(_MAY_CHANGE)}
    changes = [
        f"{path}: {before.get(path, 'not there')} then, {now.get(path, 'not there')} now"
        for path in sorted(before.keys() | now.keys())
        if before.get(path) != now.get(path)
    ]
    if not changes and data_key not in (None, started.data_key):
        changes = ["the content of data.sources, or the code that prepares it"]
    if changes:
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise InputError(
            f"the search {experiment.name} in this storage folder was started differently "
            f"({'; '.join(changes[:_SHOWN])}{more}); set it back, or begin a new one beside it with --fresh"
        )


def check_code(name: str, code: CodeVersion, allow: bool, past: Iterable[Event]) -> bool:
    """Refuse to go on with code that computes other figures than before; tell whether it was allowed.

    Documentation, comments, pages and whatever else decides no figure may change. A ledger from before
    sources were recorded is taken for unchanged.

    Args:
        name: Of the search.
        code: That runs now.
        allow: The user wants to go on all the same, which the ledger records; the next command is then
            compared with this one.
        past: The ledger.

    Raises:
        InputError: A source that decides figures differs, and the user has not allowed it.
    """
    started = next((event for event in reversed(list(past)) if isinstance(event, SearchStarted)), None)
    if started is None or not started.sources:
        return False
    changed = changed_sources(started.sources, code.sources)
    if changed and not allow:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        then, now = started.git_commit[:12] or "no commit", code.git_commit[:12] or "no commit"
        raise InputError(
            f"the code that decides figures has changed since the search {name} was last run: "
            f"{', '.join(changed[:_SHOWN])}{more} ({then} then, {now} now); go back to that code, go on all "
            "the same with --allow-code-change, or begin a new search beside it with --fresh"
        )
    return bool(changed)


def _flat(plain: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
