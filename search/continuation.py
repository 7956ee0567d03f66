"""A search goes on only as what it was: what may change between two commands, and what may not."""

from collections.abc import Iterable, Iterator, Mapping

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


def check_unchanged(experiment: Experiment, data_key: str, past: Iterable[Event]) -> None:
    """Refuse to mix two different searches in one folder.

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
    if not changes and started.data_key != data_key:
        changes = ["the content of data.sources"]
    if changes:
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise InputError(
            f"the search {experiment.name} in this storage folder was started differently "
            f"({'; '.join(changes[:_SHOWN])}{more}); set it back, or begin anew with another --storage"
        )


def _flat(plain: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
