"""Checkpoints: whole or absent, only the newest, and no code from a file."""

import time
from pathlib import Path

import pytest
import torch

from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.loop import train


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path(PLACE).touch()".replace("PLACE", repr(str(self.place))),)

    def __init__(self, place: Path) -> None:
        self.place = place


def run_until(folder: Path, reports: int, **changes: object) -> None:
    """Stop a trial the hard way, in the middle of a report: what is on disk then is all there is."""
    left = [reports]

    def emit(_: object) -> bool:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return True

    config = toy_train_config(run__eval_at_tokens=(500, 1000, 1500), **changes)
    with pytest.raises(KeyboardInterrupt):
        train(config, 0, toy_prepared(), toy_base(), folder, emit, time.time())


def test_only_the_newest_checkpoint_stays_and_a_torn_one_is_ignored(tmp_path: Path) -> None:
    run_until(tmp_path, 4)
    (kept,) = (tmp_path / "checkpoints").iterdir()
    assert kept.name >= "tokens-000000001500"
    torn = tmp_path / "checkpoints" / ".partial-000000009999"
    torn.mkdir()
    outcome = train(
        toy_train_config(run__eval_at_tokens=(500, 1000, 1500)),
        0,
        toy_prepared(),
        toy_base(),
        tmp_path,
        lambda _: True,
        time.time(),
    )
    assert outcome is not None
    assert outcome.status == "finished"


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_code_hidden_in_a_checkpoint_does_not_run(tmp_path: Path, stage: int) -> None:
    run_until(tmp_path, 3, engine__zero_stage=stage)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    for file in (folder / "state").glob("*.pt"):
        torch.save({"module": Hostile(tmp_path / "ran")}, file)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        train(
            toy_train_config(engine__zero_stage=stage),
            0,
            toy_prepared(),
            toy_base(),
            tmp_path,
            lambda _: True,
            time.time(),
        )
    assert not (tmp_path / "ran").exists()
