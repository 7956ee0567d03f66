"""What a mistake looks like: one line, exit code 2, nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def fails(storage: Path | str, *arguments: str, module: str = "search.run") -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--storage", str(storage)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, f"exit {done.returncode}: {done.stdout} {done.stderr}"
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]


def sets(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def test_wrong_experiment_name(tmp_path: Path) -> None:
    assert "did you mean 'exp4'" in fails(tmp_path, "exp44")


def test_wrong_override(tmp_path: Path) -> None:
    assert "did you mean 'optim.lr'" in fails(tmp_path, "exp4", *sets("optim.lrr=1"))


def test_unknown_precision(tmp_path: Path) -> None:
    assert "did you mean 'fp16'" in fails(tmp_path, "exp4", *sets("engine.precision=fp61"))


@pytest.mark.parametrize("module", ["search.run", "search.trial", "search.data"])
def test_broken_jsonl(tmp_path: Path, module: str) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text(json.dumps({"prompt": "Hi", "generation": "Hello"}) + '\n{"prompt": "cut\n')
    said = fails(tmp_path / "runs", "exp4", *sets(f"data.sources={file}"), module=module)
    assert f"{file}:2" in said
    assert "skip_broken_lines" in said


def test_a_trace_of_no_steps(tmp_path: Path) -> None:
    said = fails(tmp_path / "runs", "exp4", "--trace", "0", module="search.trial")
    assert "--trace '0' must be a whole number of optimizer steps from 1 to 20" in said
    assert not (tmp_path / "runs").exists()


WRITERS = ("search.run", "search.trial", "search.data", "search.doctor")
READERS = ("analysis.report", "analysis.behaviour", "analysis.promote")


@pytest.mark.parametrize("module", [*WRITERS, *READERS])
@pytest.mark.parametrize(("storage", "rule"), [("", "names no folder"), ("http://x/y", "cannot be written")])
def test_a_storage_that_is_none(module: str, storage: str, rule: str, tmp_path: Path) -> None:
    to = ("--to", f"file://{tmp_path}/out") if module == "analysis.promote" else ()
    assert rule in fails(storage, "exp4", *to, module=module)


def test_the_doctor_cannot_make_the_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be made" in fails(tmp_path / "file", "exp4", module="search.doctor")


def test_missing_source(tmp_path: Path) -> None:
    assert "nowhere.jsonl" in fails(tmp_path, "exp4", *sets("data.sources=nowhere.jsonl"))


def test_unreadable_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert "model.path" in fails(tmp_path / "runs", "exp4", *sets(f"model.path={folder}"))


def test_damaged_weights(tmp_path: Path) -> None:
    bundled = REPOSITORY / "train_fn" / "bundled" / "model"
    folder = tmp_path / "model"
    folder.mkdir()
    for file in bundled.iterdir():
        content = file.read_bytes()
        (folder / file.name).write_bytes(
            content[: len(content) // 2] if file.suffix == ".safetensors" else content
        )
    assert "model.path" in fails(tmp_path / "runs", "exp4", *sets(f"model.path={folder}"))


def test_precision_that_this_machine_cannot_compute(tmp_path: Path) -> None:
    from deepspeed.accelerator import get_accelerator

    if get_accelerator().is_fp16_supported():
        pytest.skip("this machine computes fp16")
    assert "engine.precision" in fails(tmp_path, "exp4", *sets("engine.precision=fp16"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("this sandbox allows no mount")
    try:
        said = fails(folder / "runs", "exp4")
        assert str(folder) in said
        assert not [f for f in folder.rglob("*") if f.is_file() and f.stat().st_size], (
            "leftovers on the full disk"
        )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_nothing_is_started_by_a_plan(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "search.run", "exp4", "--plan", "--storage", str(tmp_path / "runs")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rungs" in done.stdout
    assert not (tmp_path / "runs").exists()
