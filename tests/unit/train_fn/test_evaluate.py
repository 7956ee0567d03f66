"""The held-out figure and its standard error."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import ToyExamples, toy_base, toy_examples, toy_train_config
from train_fn.config import LoraConfig
from train_fn.evaluate import baseline, evaluate
from train_fn.loss import PackedLoss
from train_fn.model import fresh_model

CPU = torch.device("cpu")
EXAMPLES = toy_examples(30, seed=9)


def test_packing_does_not_change_the_figures_and_training_mode_stays() -> None:
    module = PackedLoss(fresh_model(toy_base(), toy_train_config(), torch.float32)).train()
    wide, narrow = (evaluate(module, EXAMPLES, room, CPU) for room in (4096, 24))
    assert module.training
    assert wide.example_nll == pytest.approx(narrow.example_nll, abs=1e-5)
    assert wide.nll == pytest.approx(np.average(wide.example_nll, weights=wide.example_tokens))
    assert wide.example_tokens == tuple((EXAMPLES.lengths - EXAMPLES.prompt_lengths).tolist())


class InPairs(ToyExamples):
    """Two examples of each conversation."""

    @property
    def conversations(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int32) // 2


def test_the_error_counts_conversations() -> None:
    module = PackedLoss(fresh_model(toy_base(), toy_train_config(), torch.float32))
    alone = evaluate(module, EXAMPLES, 4096, CPU)
    rows = tuple(np.array(row) for row in EXAMPLES.rows for _ in range(2))
    twice = InPairs(rows, np.repeat(EXAMPLES.prompt_lengths, 2), np.repeat(EXAMPLES.sources, 2))
    found = evaluate(module, twice, 4096, CPU)
    assert found.example_conversations == tuple(k // 2 for k in range(60))
    assert found.stderr == pytest.approx(alone.stderr), "the same twice says no more"


def test_baseline_is_kept_and_ignores_lora(tmp_path: Path) -> None:
    base, config = toy_base(), toy_train_config(model__lora=LoraConfig(rank=2))
    first = baseline(base, config, EXAMPLES, "data", "fp32", CPU, tmp_path)
    (file,) = tmp_path.iterdir()
    module = PackedLoss(fresh_model(base, toy_train_config(), torch.float32))
    assert first.nll == pytest.approx(evaluate(module, EXAMPLES, 64, CPU).nll)
    file.write_text(file.read_text().replace(str(first.seconds), "123.0"))
    again = baseline(base, config, EXAMPLES, "data", "fp32", CPU, tmp_path)
    assert again.seconds == 123.0
    assert again.example_nll == first.example_nll
    assert baseline(base, config, EXAMPLES, "other data", "fp32", CPU, tmp_path).seconds != 123.0


@pytest.mark.parametrize("left", ["", '{"nll": 2', '{"nll": "low"}', "[]"])
def test_a_damaged_baseline_is_measured_anew(
    tmp_path: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    base, config = toy_base(), toy_train_config()
    first = baseline(base, config, EXAMPLES, "data", "fp32", CPU, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(left)
    again = baseline(base, config, EXAMPLES, "data", "fp32", CPU, tmp_path)
    assert again.example_nll == first.example_nll
    assert "the base model is evaluated anew" in caplog.text
    assert baseline(base, config, EXAMPLES, "data", "fp32", CPU, tmp_path) == again
