"""`--set path=value`: typed changes to an experiment from the command line."""

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Union, get_args, get_origin

from spaces.experiment import Experiment
from spaces.paths import field_type, leaves, nearest, replace_all
from train_fn.errors import InputError

_OWN = (
    "budget",
    "halving",
    "sampler",
    "confirm",
    "resources",
    "tracking",
    "behaviour",
    "promotion",
)
"""Groups of the experiment itself; every other path begins with a group of its base configuration."""
_SHOWN_CHARS = 80
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse(text: str, kind: Any, path: str, now: object = 1) -> Any:
    """Turn the text of a command line into a value of a field's type.

    Tuples are written with commas; an empty text is the empty tuple.

    Args:
        text: What the user wrote.
        kind: Type of the field.
        path: Of the field.
        now: What the field holds, which serves as an example of what it may.

    Raises:
        InputError: The text is no value of that type.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        for choice in args:
            if text == str(choice):
                return choice
        known = [str(choice) for choice in args]
        raise InputError(f"{path} = {_shown(text)} is not one of {', '.join(known)}{_guess(text, known)}")
    if origin in (Union, types.UnionType) and type(None) in args:
        (inner,) = (a for a in args if a is not type(None))
        return None if text in ("", "none") else parse(text, inner, path, now)
    if origin is tuple:
        example = now[0] if isinstance(now, tuple) and now else 1
        return tuple(parse(part, args[0], path, example) for part in text.split(",") if part)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise InputError(f"{path} = {_shown(text)} is not a boolean; write true or false")
        return _BOOLEANS[text.lower()]
    try:
        readers: dict[object, Callable[[str], object]] = {int: _whole, float: _finite, str: str}
        return readers[kind](text)
    except ValueError:
        names = {int: "a whole number", float: "a number"}
        raise InputError(
            f"{path} = {_shown(text)} is not {names[kind]}; write one, for example {now}"
        ) from None


def _finite(text: str) -> float:
    """Read a number; refuse what no figure can be: infinity, and what is no number by name."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _shown(text: str) -> str:
    """Quote what the user wrote, a long text only as far as it is needed to be known again."""
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")


def _whole(text: str) -> int:
    """Read 100000, 100_000 or 1e5; refuse 1.5."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def _guess(text: str, known: list[str]) -> str:
    hint = nearest(text, known)
    return hint if "did you mean" in hint else ""


def override(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """Return the experiment with every `path=value` of `settings` applied.

    A path begins with a group of the experiment (`budget.trials`) or of its base configuration (`optim.lr`).
    Fixing a path that is searched takes it out of the space, and out of the known good points.

    Raises:
        InputError: A setting is no `path=value`, names no field, or breaks a rule.
    """
    own: dict[str, object] = {}
    base: dict[str, object] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals:
            raise InputError(f"--set {_shown(setting)} has no '='; write --set optim.lr=1e-5")
        target: object = experiment if path.split(".")[0] in _OWN else experiment.base
        changes = own if target is experiment else base
        changes[path] = parse(
            text.strip(), _type_of(experiment, target, path), path, dict(leaves(target))[path]
        )
    space = {path: d for path, d in experiment.space.items() if path not in base}
    points = tuple({p: v for p, v in point.items() if p not in base} for point in experiment.known_good)
    changed = replace(experiment, base=replace_all(experiment.base, base), space=space, known_good=points)
    return replace_all(changed, own)


def _type_of(experiment: Experiment, target: object, path: str) -> Any:
    known = [name for name, _ in leaves(experiment.base)]
    for group in _OWN:
        known += [name for name, _ in leaves(getattr(experiment, group), f"{group}.")]
    if path not in known:
        raise InputError(f"--set {_shown(path)}: there is no such field{_near_path(path, known)}")
    return field_type(target, path)


def _near_path(path: str, known: list[str]) -> str:
    group = path.split(".")[0]
    fields = [name for name in known if name.startswith(f"{group}.")]
    of_group = f"; fields of {group} are {', '.join(name.partition('.')[2] for name in fields)}"
    if path == group and fields:
        return of_group
    hint = _guess(path, known)
    if hint:
        return hint
    same_end = [name for name in known if name.split(".")[-1] == path.split(".")[-1]]
    if same_end:
        return f"; did you mean {same_end[0]!r}?"
    groups = sorted({name.split(".")[0] for name in known})
    return (
        of_group if fields else f"; groups are {', '.join(groups)} (--set optim=? lists the fields of optim)"
    )
