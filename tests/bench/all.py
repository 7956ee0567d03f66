"""Run every benchmark, each in a process of its own, and write BENCHMARKS.md: `python -m tests.bench.all`."""

import argparse
import ast
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from tests.bench.page import Machine, Ran, page
from tests.bench.result import Result
from train_fn.command import run_command

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
BENCHES = (
    "train_step",
    "engine_overhead",
    "compiled",
    "sft_vs_uft",
    "prepare",
    "checkpoint",
    "tracking",
    "scale",
    "startup",
    "turnaround",
    "search_wall",
    "search_quality",
)
PACKAGES = ("torch", "transformers", "deepspeed", "trl", "accelerate", "datasets", "ray", "optuna", "mlflow")
QUICK = "--quick"


def source_of(bench: str) -> Path:
    """Return the file that holds a benchmark's entry point."""
    package = HERE / bench / "__main__.py"
    return package if package.exists() else HERE / f"{bench}.py"


def run(bench: str, quick: bool) -> Ran:
    """Run one benchmark, show what it prints, and keep its lines of JSON."""
    source = source_of(bench).read_text()
    arguments = [QUICK] if quick and f'"{QUICK}"' in source else []
    print(f"\n== {bench}", flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", f"tests.bench.{bench}", *arguments]
    lines: list[Mapping[str, Any]] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith('{"name": '):
                lines.append(json.loads(line))
    return _ran(bench, lines, time.monotonic() - began, process.returncode)


def kept(bench: str, quick: bool, folder: Path) -> Ran:
    """Return what a benchmark gave before, from the folder; or run it and keep what it gives there."""
    file = folder / f"{bench}.json"
    if file.exists():
        before = json.loads(file.read_text())
        return _ran(bench, before["lines"], before["seconds"], 0)
    ran = run(bench, quick)
    if ran.exit_code == 0:
        folder.mkdir(parents=True, exist_ok=True)
        lines = [*map(asdict, ran.results), *ran.others]
        file.write_text(json.dumps({"lines": lines, "seconds": ran.seconds}))
    return ran


def _ran(bench: str, lines: Sequence[Mapping[str, Any]], seconds: float, exit_code: int) -> Ran:
    about = (ast.get_docstring(ast.parse(source_of(bench).read_text())) or "").split(":")[0]
    compared = tuple(_result(line) for line in lines if "goal" in line)
    others = tuple(line for line in lines if "goal" not in line)
    return Ran(bench, f"{about}.", compared, others, seconds, exit_code)


def _result(line: Mapping[str, Any]) -> Result:
    """Read a line back; a benchmark may say more than the page shows."""
    return Result(line["name"], line["ratio"], line["goal"], line["better"], tuple(line["runs"]))


def machine() -> Machine:
    """Read what this machine is and which versions are installed."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    processor = models[0].partition(": ")[2] if models else platform.machine()
    installed = {found.name: found.version for found in importlib.metadata.distributions()}
    versions = {"Python": platform.python_version()}
    versions |= {name: installed[name] for name in PACKAGES if name in installed}
    memory_gib = psutil.virtual_memory().total / 2**30
    return Machine(time.strftime("%Y-%m-%d"), processor, len(os.sched_getaffinity(0)), memory_gib, versions)


def chosen(without: Sequence[str]) -> list[str]:
    """Return the benchmarks to run."""
    return [bench for bench in BENCHES if source_of(bench).exists() and bench not in without]


def main() -> int:
    """Run them one after the other and write the page.

    Returns:
        The exit code: 1 when a benchmark broke; one that misses its goal breaks nothing.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(QUICK, action="store_true", help="is handed to the benchmarks that know it")
    parser.add_argument("--without", nargs="+", default=[], choices=BENCHES, help="leave these out")
    parser.add_argument(
        "--keep", type=Path, help="a folder of results; a benchmark whose result is there is not run again"
    )
    parser.add_argument("--note", default="", help="a sentence for the page, on what else ran beside")
    parser.add_argument("--to", type=Path, default=ROOT / "BENCHMARKS.md", help="the page")
    args = parser.parse_args()
    ran = [
        kept(bench, args.quick, args.keep) if args.keep else run(bench, args.quick)
        for bench in chosen(args.without)
    ]
    args.to.write_text(page(machine(), ran, QUICK if args.quick else "", args.note))
    print(f"\nwritten: {args.to}")
    return 1 if any(one.exit_code for one in ran) else 0


if __name__ == "__main__":
    run_command(main)
