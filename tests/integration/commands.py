"""The command a user types, with a small budget."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
SMALL = (
    "data.max_example_tokens=128",
    "data.max_eval_examples=32",
    "run.max_tokens=6000",
    "run.window_tokens=1000",
    "halving.first_rung_tokens=2000",
    "halving.eta=3",
    "halving.spacing=3",
    "optim.effective_batch_size=8",
    "optim.warmup_tokens=0",
    "optim.schedule=constant",
    "confirm.top=0",
)


def command(storage: Path, *settings: str, module: str = "search.run") -> list[str]:
    return command_with(storage, (*SMALL, *settings), module)


def command_with(storage: Path, settings: Sequence[str], module: str = "search.run") -> list[str]:
    """The same without the small budget."""
    sets = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", module, "exp4", "--profile", "laptop", "--storage", str(storage), *sets]


def run(storage: Path, *settings: str) -> dict[str, Any]:
    done = subprocess.run(
        command(storage, *settings), cwd=REPOSITORY, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((storage / "exp4" / "summary.json").read_text())
