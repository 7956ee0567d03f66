"""Passwords and tokens of the environment stay there."""

import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.commands import REPOSITORY, command

SECRETS = ("s3cret-of-mlflow", "hf_token-of-nobody")


@pytest.mark.slow  # a whole search, whose figures wait in vain for a server that is not there
def test_no_secret_is_in_a_file_in_the_output_or_on_a_command_line(
    own_dialogues: Path, tmp_path: Path
) -> None:
    password, token = SECRETS
    settings = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false", "resources.slots=1")
    process = subprocess.Popen(
        command(tmp_path, *settings, "budget.trials=2"),
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": f"http://user:{password}@127.0.0.1:9",
            "HF_TOKEN": token,
            "HF_HUB_OFFLINE": "1",
        },
    )  # fmt: skip
    lines: set[str] = set()
    root = psutil.Process(process.pid)
    ledger = tmp_path / "exp4" / "events.jsonl"
    while process.poll() is None and not (ledger.exists() and '"SearchEnded"' in ledger.read_text()):
        for child in root.children(recursive=True):
            try:
                lines.add(" ".join(child.cmdline()))
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.2)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert len(lines) > 5, "Ray's processes were seen"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert ledger in files
    for secret in SECRETS:
        assert secret not in output
        assert not [line for line in lines if secret in line]
        assert not [path for path in files if secret.encode() in path.read_bytes()]
