"""How long a user waits for the first word: `python -m tests.bench.startup`.

Each command is started anew. The ratio is the worst of them against what it may take: `--help` 0.5 s,
`--plan` 2 s, `analysis.report` without torch, the first report of a search 20 s.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.result import ROUNDS, print_result, result
from tests.integration.commands import command

ROOT = Path(__file__).parents[2]
HELP_S, PLAN_S, FIRST_S = 0.5, 2.0, 20.0


def seconds(*arguments: str) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - began


def first_step_s(storage: Path) -> float:
    """Return the time from the command to the first optimizer step of its first trial; the data is there."""
    whole = command(storage, "budget.trials=1")
    began = time.time()
    subprocess.run(whole, cwd=ROOT, check=True, capture_output=True)
    return _first_step(storage / "exp4" / "events.jsonl") - began


def _first_step(ledger: Path) -> float:
    """Return when the first window was reported, less the time it trained: the start of its first step."""
    from search.events import Reported
    from search.ledger import read_events

    report = next(event for event in read_events(ledger) if isinstance(event, Reported))
    return report.time - report.report.train_s


def loads_torch() -> bool:
    """Tell whether reading a report imports torch."""
    code = "import analysis.report, sys; raise SystemExit('torch' in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode != 0


def main() -> None:
    """Run every command several times, print a table, and one JSON line last."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command(Path(folder), module="search.data"), cwd=ROOT, check=True, capture_output=True)
        rows = []
        print(f"{'--help':>8} {'--plan':>8} {'first step':>11}   seconds")
        for number in range(ROUNDS):
            row = (
                seconds("-m", "search.run", "--help"),
                seconds("-m", "search.run", "exp4", "--plan", "--storage", folder),
                first_step_s(_with_data(Path(folder), number)),
            )
            rows.append(row)
            print(f"{row[0]:>8.2f} {row[1]:>8.2f} {row[2]:>11.1f}", flush=True)
    torch_too = loads_torch()
    print(f"analysis.report imports torch: {'yes' if torch_too else 'no'}")
    worst = [max(h / HELP_S, p / PLAN_S, f / FIRST_S, 2.0 * torch_too) for h, p, f in rows]
    print_result(result("startup", worst, 1.0, "lower"))


def _with_data(storage: Path, number: int) -> Path:
    """Return a storage folder of its own that finds the data prepared."""
    own = storage / f"round-{number}"
    own.mkdir()
    (own / "data").symlink_to(storage / "data")
    return own


if __name__ == "__main__":
    main()
