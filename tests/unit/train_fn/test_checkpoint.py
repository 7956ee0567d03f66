"""Checkpoints of a trial: taken at window borders, checked when they are read, and without code in them."""

import dataclasses
import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn

from tests.toys import toy_base, toy_prepared, toy_train_config
from tests.unit.train_fn.test_checkpoint_writer import files_of_at_most, wait_for
from tests.unit.train_fn.test_engine import TRAIN, engine_of, plan_of
from train_fn import checkpoint
from train_fn.checkpoint import _Held
from train_fn.checkpoint_files import MANIFEST, complete_folders, digest_on_disk, partial_folder, tokens_of
from train_fn.checkpoint_writer import CheckpointWriter
from train_fn.config import LoraConfig
from train_fn.departure import Departure
from train_fn.engine import Engine, gathered
from train_fn.errors import InputError
from train_fn.loop import train
from train_fn.precision import Chosen
from train_fn.report import Outcome, Report

MARKS = (500, 1000, 1500)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path(PLACE).touch()".replace("PLACE", repr(str(self.place))),)

    def __init__(self, place: Path) -> None:
        self.place = place


def run(
    folder: Path, emit: Callable[[Report], bool] = lambda _: True, **changes: object
) -> tuple[Outcome | None, list[Report]]:
    reports: list[Report] = []

    def kept(report: Report) -> bool:
        reports.append(report)
        return emit(report)

    config = toy_train_config(**{"run__eval_at_tokens": MARKS} | changes)
    return train(config, 0, toy_prepared(), toy_base(), folder, kept, time.time()), reports


def run_until(folder: Path, checkpoints: int, **changes: object) -> list[Path]:
    """Stop a trial the hard way, in the middle of a report: what is on disk then is all there is."""
    evaluated, written = [0], set()

    def emit(report: Report) -> bool:
        while len(written) < min(evaluated[0], checkpoints):
            written.update(complete_folders(folder))
        if len(written) == checkpoints:
            raise KeyboardInterrupt
        evaluated[0] += report.eval is not None
        return True

    with pytest.raises(KeyboardInterrupt):
        run(folder, emit, **changes)
    return complete_folders(folder)


def test_the_newest_two_stay_and_a_torn_one_is_ignored(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    kept = [tokens_of(folder) for folder in run_until(tmp_path, 3)]
    assert len(kept) == 2
    assert kept[0] >= 1000
    assert kept[1] >= 1500
    torn = partial_folder(tmp_path, 9999)
    torn.mkdir()
    outcome, reports = run(tmp_path)
    assert outcome is not None
    assert outcome.status == "finished"
    assert f"trial 0: goes on from its checkpoint at {kept[1]:,} tokens" in capsys.readouterr().out
    assert reports[0].tokens_seen > kept[1]
    assert (tmp_path / "weights").is_dir()
    assert not partial_folder(tmp_path, 9999).exists()
    assert all(folder in complete_folders(tmp_path) for folder in (tmp_path / "checkpoints").iterdir())


def damage(folder: Path, name: str = "state/*model_states.pt") -> None:
    (file,) = folder.glob(name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_is_told_and_the_one_before_gives_the_same_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture, damaged: int
) -> None:
    whole, _ = run(tmp_path / "whole")
    kept = run_until(tmp_path / "parts", 2)
    for folder in kept[-damaged:]:
        damage(folder)
    capsys.readouterr()
    outcome, _ = run(tmp_path / "parts")
    said = capsys.readouterr().out
    for folder in kept[-damaged:]:
        told = f"trial 0: its checkpoint at {tokens_of(folder):,} tokens has another state/mp_rank_00"
        assert told in said
    if damaged == 1:
        assert f"trial 0: goes on from its checkpoint at {tokens_of(kept[0]):,} tokens" in said
    else:
        assert "trial 0: begins anew: no sound checkpoint is left" in said
    assert whole is not None
    assert outcome is not None
    assert outcome.eval_nll == whole.eval_nll
    weights = [
        (tmp_path / name / "weights" / "model.safetensors").read_bytes() for name in ("whole", "parts")
    ]
    assert weights[0] == weights[1]


def test_checkpoints_at_every_window_change_no_number(tmp_path: Path) -> None:
    figures = []
    for minutes in (10.0, 1e-6):
        outcome, reports = run(
            tmp_path / str(minutes),
            run__max_lost_minutes=minutes,
            run__eval_at_tokens=(),
            engine__zero_stage=3,
        )
        assert outcome is not None
        figures.append(([r.points for r in reports], [r.grad_norm for r in reports], outcome.eval_nll))
    assert figures[0] == figures[1]


def test_a_short_trial_without_rungs_writes_no_checkpoint_and_a_bound_of_seconds_does(tmp_path: Path) -> None:
    def seen_at_the_end(minutes: float) -> bool:
        folder = tmp_path / str(minutes)

        def emit(report: Report) -> bool:
            if minutes < 1 and report.steps > report.window_steps:
                while not complete_folders(folder):
                    time.sleep(0.01)
            return report.eval is None  # the last report is for nobody: what there is stays

        run(folder, emit, run__eval_at_tokens=(), run__max_lost_minutes=minutes)
        return bool(complete_folders(folder))

    assert not seen_at_the_end(10.0)
    assert seen_at_the_end(1e-6)


def test_a_departure_saves_the_trial_at_the_border_where_it_is_told_and_changes_no_number(
    tmp_path: Path,
) -> None:
    figures, seen = [], list[int]()
    for told in (None, Departure(None)):
        folder, reports = tmp_path / str(told), list[Report]()

        def emit(report: Report, folder: Path = folder, reports: list[Report] = reports) -> bool:
            reports.append(report)
            seen.extend(tokens_of(kept) for kept in complete_folders(folder))
            return True

        def departing(told: Departure | None = told, reports: list[Report] = reports) -> Departure | None:
            return told if len(reports) >= 2 else None

        config = toy_train_config(run__eval_at_tokens=())
        toys = toy_prepared(), toy_base()
        outcome = train(config, 0, *toys, folder, emit, time.time(), departing=departing)
        assert outcome is not None
        figures.append(([r.points for r in reports], outcome.eval_nll))
    assert figures[0] == figures[1]
    assert set(seen) == {reports[1].tokens_seen}, "once, and whole before the next window ends"


def test_a_full_disk_ends_the_trial_in_one_line_and_it_goes_on_when_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole, _ = run(tmp_path / "whole")
    (kept,) = run_until(tmp_path / "parts", 1)
    with files_of_at_most(10_000), pytest.raises(InputError, match=r"cannot be written below .*; make room"):
        run(tmp_path / "parts")
    assert complete_folders(tmp_path / "parts") == [kept]
    capsys.readouterr()
    outcome, _ = run(tmp_path / "parts")
    assert f"goes on from its checkpoint at {tokens_of(kept):,} tokens" in capsys.readouterr().out
    assert whole is not None
    assert outcome is not None
    assert outcome.eval_nll == whole.eval_nll


@pytest.mark.parametrize("rank", [0, 2])
def test_weights_that_the_disk_does_not_take_are_one_line_and_leave_nothing(
    tmp_path: Path, rank: int
) -> None:
    changes = {"run__eval_at_tokens": (), "model__lora": LoraConfig(rank=rank, targets=("dense",))}
    said = r"^the trained weights cannot be written below .* MiB are free there\); make room and start again$"
    with files_of_at_most(2_000 if rank else 10_000), pytest.raises(InputError, match=said):
        run(tmp_path, **changes)
    assert not [path.name for path in tmp_path.iterdir() if "weights" in path.name]


@pytest.mark.parametrize("rank", [0, 2])
def test_weights_can_be_read_by_whoever_can_read_the_rest(tmp_path: Path, rank: int) -> None:
    run(tmp_path, run__eval_at_tokens=(), model__lora=LoraConfig(rank=rank, targets=("dense",)))
    files = [file for file in (tmp_path / "weights").rglob("*") if file.is_file()]
    assert sum(file.suffix == ".safetensors" for file in files) == (2 if rank else 1)
    assert len({file.stat().st_mode for file in files}) == 1


def test_all_ranks_hear_that_the_weights_could_not_be_written(tmp_path: Path) -> None:
    spawn(train_on_a_full_disk, args=(str(tmp_path),), nprocs=2)
    assert {file.name for file in tmp_path.glob("told-*")} == {"told-0", "told-1"}


def train_on_a_full_disk(rank: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    store = distributed.FileStore(f"{folder}/group", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    with files_of_at_most(10_000), pytest.raises(InputError, match="trained weights cannot be written"):
        run(Path(folder) / "trial", run__eval_at_tokens=())
    Path(folder, f"told-{rank}").touch()
    distributed.destroy_process_group()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_code_hidden_in_a_checkpoint_does_not_run(tmp_path: Path, stage: int) -> None:
    (folder,) = run_until(tmp_path, 1, engine__zero_stage=stage)
    listed = json.loads((folder / MANIFEST).read_text())
    for file in (folder / "state").glob("*.pt"):
        torch.save({"module": Hostile(tmp_path / "ran")}, file)
        listed[f"state/{file.name}"] = dataclasses.asdict(digest_on_disk(file))
    (folder / MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        run(tmp_path, engine__zero_stage=stage)
    assert not (tmp_path / "ran").exists()


def test_what_was_copied_changes_no_more_and_what_is_shared_stays_shared(tmp_path: Path) -> None:
    tied, group = torch.ones(2, 3), {"lr": 1.0}
    state = {"embed": tied, "nested": [{"head": tied.detach(), "rows": tied[:1]}, (torch.zeros(1),)]}
    held = _Held()
    held.save(state | {"groups": [group]}, "state.pt")
    write = held.files["state.pt"]()
    group["lr"] = 2.0
    tied.zero_()
    write(tmp_path / "state.pt")
    copied = torch.load(tmp_path / "state.pt")
    head: Tensor = copied["nested"][0]["head"]
    assert head.data_ptr() == copied["embed"].data_ptr()
    assert torch.equal(head, torch.ones(2, 3))
    assert torch.equal(copied["nested"][0]["rows"], torch.ones(1, 3))
    assert copied["groups"] == [{"lr": 1.0}]


@pytest.mark.parametrize(
    ("stage", "precision"),
    [(0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (2, "bf16"), (3, "bf16")],
)
def test_an_update_waits_until_the_state_before_it_is_copied(
    stage: int, precision: Chosen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, on_host = threading.Event(), checkpoint._on_host

    at_once, later = [], []

    def slow(state: Any) -> Any:
        at_once.append(serialized(on_host(state)))
        go_on.wait(30)
        later.append(serialized(on_host(state)))
        return on_host(state)

    monkeypatch.setattr(checkpoint, "_on_host", slow)
    config = toy_train_config(engine__zero_stage=stage, engine__initial_scale_power=8)
    disturbed, resumed = engine_of(config, precision), engine_of(config, precision)
    writer = CheckpointWriter(tmp_path, 0, 1)
    disturbed.may_update = writer.copied
    plan = plan_of(config)
    disturbed.step(TRAIN, plan, "response", 1e-2)
    writer.start(7, checkpoint.state_files(disturbed, {}))
    threading.Timer(0.3, go_on.set).start()
    disturbed.step(TRAIN, plan, "response", 1e-2)
    assert disturbed.waited_s > 0, "forward and backward do not wait, the update does"
    wait_for(writer)
    assert at_once
    assert at_once == later, "forward and backward passes change nothing of what is kept"
    assert checkpoint.load_newest(resumed, tmp_path, print) == {}
    resumed.step(TRAIN, plan, "response", 1e-2)
    pairs = list(zip(weights_of(resumed), weights_of(disturbed), strict=True))
    resumed.destroy()
    disturbed.destroy()
    assert all(torch.equal(mine, other) for mine, other in pairs)


def serialized(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def weights_of(engine: Engine) -> list[Tensor]:
    parameters = list(engine.deepspeed.module.parameters())
    with gathered(parameters):
        return [parameter.detach().clone() for parameter in parameters]
