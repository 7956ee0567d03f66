"""How often the doom rules err on trials trained here: `python -m tests.bench.doom_trained` prints a table.

No recording of others holds gradient norms. So the laptop's model of exp4 is trained with the rules off, at
rates, batch sizes and schedules drawn at random, and again with a rate that rises until the trial is lost.
Every step is written down and judged afterwards, as it would have been while the trial ran.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import patch

from spaces import exp4
from spaces.paths import replace_all
from tests.bench.alone import alone
from tests.bench.doom_rules import HEADER, Counted, judged, turn
from train_fn.command import run_command
from train_fn.config import TrainConfig
from train_fn.curve import Curve
from train_fn.doom import DoomConfig
from train_fn.loop import train
from train_fn.model import BaseModel, load_base
from train_fn.prepare import prepare
from train_fn.prepared import Prepared
from train_fn.tokenizer import load_tokenizer, tokenizer_key

TOKENS = 24_000
"""Of a trial, unless told otherwise: a fifth of what exp4's see, 30 steps at batch 16 and 500 at batch 1."""
BATCHES, SCHEDULES = (1, 2, 4, 8, 16), ("constant", "linear", "cosine")
RATES, RISING_RATES = (1e-4, 1e-2), (0.3, 10.0)
"""Peak rates, drawn evenly in log. A rising one is reached at the end, so it is lost on the way."""
LAST = 0.1
"""Share of a trial at its end that must lie below its start for it to be sound."""
MIDDLE = 5
FAR = 1.3
"""From so many times their first loss on the lost runs of TaskSet are counted (`tests.bench.doom_rules`)."""
NO_NORM = replace(DoomConfig(), norm_ratio=1e9)


@dataclass(frozen=True)
class Recording:
    """Every step of one trial."""

    rate: float
    batch: int
    rising: bool
    """Its rate rose all the way."""
    losses: tuple[float, ...]
    norms: tuple[float, ...]
    """Of the gradient, before clipping."""
    tokens: tuple[int, ...]
    """Seen after each step."""
    max_tokens: int = TOKENS
    """Of the whole trial."""

    @property
    def start(self) -> float:
        """The loss it began with: a median of five, for that of a single step is noisy."""
        return statistics.median(self.losses[:MIDDLE])

    @property
    def sound(self) -> bool:
        """Tell whether it ended below its start."""
        last = self.losses[-max(MIDDLE, round(LAST * len(self.losses))) :]
        return all(map(math.isfinite, last)) and sum(last) / len(last) < self.start

    def turn(self, above: float = 1.0) -> float:
        """Return the share of its tokens after which the loss, a median of five, stays `above` its start."""
        half = MIDDLE // 2
        middle = [
            statistics.median(self.losses[max(0, k - half) : k + half + 1]) for k in range(len(self.losses))
        ]
        share = turn(middle, lambda loss: not loss <= above * self.start)
        return share * self.tokens[-1] / self.max_tokens


def record(config: TrainConfig, prepared: Prepared, base: BaseModel, rising: bool) -> Recording:
    """Train a trial to its end, or until its weights are lost, and return its steps."""
    steps: list[tuple[int, float, float]] = []
    add = Curve.add

    def write(curve: Curve, tokens: int, loss: float, norm: float, scale: float, overflowed: bool) -> None:
        steps.append((tokens, loss, norm))
        add(curve, tokens, loss, norm, scale, overflowed)

    with tempfile.TemporaryDirectory() as folder, patch.object(Curve, "add", write):
        train(config, 0, prepared, base, Path(folder), lambda _: True, time.time())
    tokens, losses, norms = zip(*steps, strict=True)
    optim, most = config.optim, config.run.max_tokens
    return Recording(
        optim.lr, optim.effective_batch_size, rising, tuple(losses), tuple(norms), tuple(tokens), most
    )


def trials(count: int, rising: bool, tokens: int = TOKENS) -> Iterator[TrainConfig]:
    """Yield trials drawn at random, the same ones each time."""
    base = exp4.experiment("laptop").base
    dice = random.Random(f"{rising}")
    low, high = RISING_RATES if rising else RATES
    for number in range(count):
        values = {
            "optim.lr": low * (high / low) ** dice.random(),
            "optim.effective_batch_size": dice.choice(BATCHES),
            "optim.warmup_tokens": tokens if rising else dice.randrange(tokens // 10),
            "optim.schedule": "constant" if rising else dice.choice(SCHEDULES),
            "model.init": "random",
            "data.max_eval_examples": 8,
            "run.seed": number,
            "run.max_tokens": tokens,
            "run.window_tokens": tokens // 100,
            "doom.enabled": False,
        }
        yield replace_all(base, values)


def ended_at(one: Recording, config: DoomConfig) -> tuple[float, str] | None:
    """Judge a trial as one of the recordings."""
    return judged(zip(one.tokens, one.losses, one.norms, strict=True), one.max_tokens, one.batch, config)


def count(recordings: Sequence[Recording]) -> Iterable[Counted]:
    """Count with all rules, from both turns, and without the rule for gradient norms."""
    sound = [one for one in recordings if one.sound]
    lost = [one for one in recordings if not one.sound]
    for rule, config, above in (
        ("all", DoomConfig(), 1.0),
        (f"all, from {FAR:g} times the start", DoomConfig(), FAR),
        ("all but gradient norms", NO_NORM, 1.0),
    ):
        ended = sum(ended_at(one, config) is not None for one in sound)
        found = [(one, at[0]) for one in lost if (at := ended_at(one, config)) is not None]
        delays = tuple(max(0.0, share - one.turn(above)) for one, share in found)
        yield Counted(rule, "trained here", len(sound), ended, len(lost), delays)


def norms(recordings: Sequence[Recording]) -> str:
    """Say how high gradient norms rise above their median, and in how many lost trials before the turn."""
    sound = [max(ratio for _, ratio in _ratios(one)) for one in recordings if one.sound]
    lost = [one for one in recordings if not one.sound]
    high = [[share for share, ratio in _ratios(one) if ratio >= DoomConfig().norm_ratio] for one in lost]
    first = sum(bool(shares) and shares[0] <= one.turn() for one, shares in zip(lost, high, strict=True))
    limit, highest = DoomConfig().norm_ratio, max(sound, default=math.nan)
    told = f"gradient norms: at most {highest:.2f} times their median in {len(sound)} sound trials"
    there = f"{sum(map(bool, high))} of {len(lost)} lost ones, in {first} of them before the turn"
    return f"{told}; {limit:g} times in {there}"


def _ratios(one: Recording) -> Iterator[tuple[float, float]]:
    """Yield the share of the trial and the ratio of its recent gradient norms to all, where it is known."""
    curve = Curve.fresh(one.batch)
    for loss, norm, seen in zip(one.losses, one.norms, one.tokens, strict=True):
        curve.add(seen, loss, norm, 0.0, False)
        ratio = curve.summary().grad_norm_ratio
        yield seen / one.max_tokens, 0.0 if math.isnan(ratio) else ratio


def main() -> int:
    """Train what is not kept, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=300, help="at random rates; a fifth as many with a rising one"
    )
    parser.add_argument("--keep", type=Path, help="file of recordings that are not trained again")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of a trial")
    args = parser.parse_args()
    alone()
    lost = math.ceil(args.runs / 5)
    plan = [*trials(args.runs, False, args.tokens), *trials(lost, True, args.tokens)]
    with tempfile.TemporaryDirectory() as folder:
        keep = args.keep or Path(folder) / "recordings.jsonl"
        recordings = list(_recorded(plan, keep, Path(folder)))
    print(HEADER)
    counted = list(count(recordings))
    for one in counted:
        print(one.line())
    for one in counted:
        within = sum(share <= 0.05 for share in one.delays)
        print(f"{one.rule}: {within} of {len(one.delays)} within 5% of the trial")
    print(norms(recordings))
    return 0


def _recorded(plan: Sequence[TrainConfig], keep: Path, folder: Path) -> Iterator[Recording]:
    known = keep.read_text().splitlines() if keep.exists() else []
    data = plan[0].data
    prepared = prepare(data, lambda: load_tokenizer("bundled"), tokenizer_key("bundled"), folder)
    base = load_base(plan[0].model)
    for number, config in enumerate(plan):
        if number >= len(known):
            one = record(config, prepared, base, config.optim.warmup_tokens == config.run.max_tokens)
            with keep.open("a") as lines:
                lines.write(json.dumps(asdict(one)) + "\n")
            yield one
        else:
            kept = json.loads(known[number])
            yield Recording(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})


if __name__ == "__main__":
    run_command(main)
