"""The trial as a whole, on one rank: windows, evaluations, endings, resume, memory."""

import gc
import json
import os
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.batches import Order
from train_fn.checkpoint_files import digest_on_disk
from train_fn.config import LoraConfig
from train_fn.loop import train
from train_fn.model import fresh_model
from train_fn.report import Outcome, Report
from train_fn.times import PARTS, Times
from train_fn.typed import from_plain

BASE = toy_base()
PREPARED = toy_prepared()


def run(folder: Path, stop_after: int = 1000, **changes: Any) -> tuple[Outcome | None, list[Report]]:
    reports: list[Report] = []

    def emit(report: Report) -> bool:
        reports.append(report)
        return len(reports) < stop_after

    return train(toy_train_config(**changes), 7, PREPARED, BASE, folder, emit, time.time()), reports


def test_windows_lie_on_a_grid_of_tokens_and_account_for_every_step(tmp_path: Path) -> None:
    outcome, reports = run(tmp_path)
    assert outcome is not None
    assert outcome.status == "finished"
    assert outcome.tokens_seen >= 2000 > reports[-2].tokens_seen
    for k, report in enumerate(reports[:-1]):
        assert report.points[-1].tokens_seen == report.tokens_seen
        assert report.tokens_seen // 500 == k + 1
        assert report.points[-2].tokens_seen < 500 * (k + 1)
    assert sum(r.window_steps for r in reports) == reports[-1].steps == outcome.steps
    assert reports[-1].loss < reports[0].loss - 0.3


def test_evaluations_come_at_their_marks_and_at_the_end(tmp_path: Path) -> None:
    outcome, reports = run(tmp_path, run__eval_at_tokens=(700, 701, 1400))
    assert outcome is not None
    evaluated = [r.tokens_seen for r in reports if r.eval is not None]
    assert len(evaluated) == 3
    assert evaluated[0] >= 701
    assert evaluated[1] >= 1400
    assert evaluated[2] == outcome.tokens_seen
    last = reports[-1].eval
    assert last is not None
    assert (outcome.eval_nll, outcome.eval_nll_stderr) == (last.nll, last.stderr)
    assert len(last.example_nll) == len(PREPARED.eval)


def test_finished_trial_leaves_weights_that_transformers_loads_and_a_checkpoint_until_its_end_is_known(
    tmp_path: Path,
) -> None:
    outcome, _ = run(tmp_path, run__eval_at_tokens=(700,), engine__zero_stage=3)
    assert outcome is not None
    assert outcome.checkpoint == str(tmp_path / "weights")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "weights"]
    again, reports = run(tmp_path, run__eval_at_tokens=(700,), engine__zero_stage=3)
    assert again is not None
    assert again.eval_nll == outcome.eval_nll
    assert reports[0].tokens_seen > 700, "what was not written down goes on from there"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "weights").eval()
    sums, count = 0.0, 0
    for i in range(len(PREPARED.eval)):
        tokens = torch.as_tensor(PREPARED.eval.tokens(i)).long()[None]
        labels = tokens.clone()
        labels[:, : PREPARED.eval.prompt_lengths[i]] = -100
        n = int((labels != -100).sum())
        sums, count = sums + model(input_ids=tokens, labels=labels).loss.item() * n, count + n
    assert outcome.eval_nll == pytest.approx(sums / count, abs=1e-5)


def test_lora_is_merged_on_export(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, model__lora=LoraConfig(rank=2), optim__lr=0.05)
    assert outcome is not None
    weights = AutoModelForCausalLM.from_pretrained(tmp_path / "weights").state_dict()
    assert weights.keys() == BASE.state.keys()
    changed = {name.rsplit(".", 2)[1] for name in weights if not torch.equal(weights[name], BASE.state[name])}
    assert changed == {"query_key_value"}


def test_a_lora_adapter_alone_makes_the_same_model_of_its_base(tmp_path: Path) -> None:
    import peft

    outcome, _ = run(tmp_path, model__lora=LoraConfig(rank=2), optim__lr=0.05)
    assert outcome is not None
    plain = toy_train_config()
    wrapped = peft.PeftModel.from_pretrained(
        fresh_model(BASE, plain, torch.float32), tmp_path / "weights" / "adapter"
    )
    assert wrapped.peft_config["default"].base_model_name_or_path == plain.model.path
    made = wrapped.merge_and_unload().state_dict()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "weights").state_dict()
    assert all(torch.allclose(made[name], merged[name]) for name in merged)


@pytest.mark.parametrize("changes", [{}, {"engine__zero_stage": 2}, {"engine__zero_stage": 3}], ids=str)
def test_resumed_trial_is_the_trial_that_was_never_stopped(tmp_path: Path, changes: dict[str, Any]) -> None:
    changes |= {"run__eval_at_tokens": (800,), "optim__schedule": "cosine"}
    whole, reports = run(tmp_path / "whole", **changes)
    first = next(k for k, r in enumerate(reports) if r.eval is not None)
    gone, _ = run(tmp_path / "parts", stop_after=first + 2, **changes)
    assert gone is None
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["checkpoints"]
    (kept,) = (tmp_path / "parts" / "checkpoints").glob("*/progress.json")
    before = from_plain(Times, json.loads(kept.read_text())["times"])
    resumed, rest = run(tmp_path / "parts", **changes)
    assert whole is not None
    assert resumed is not None
    same = ("tokens_seen", "steps", "eval_nll", "eval_nll_stderr", "reason")
    assert [getattr(whole, n) for n in same] == [getattr(resumed, n) for n in same]
    assert [r.points for r in rest] == [r.points for r in reports[first + 1 :]]
    times = rest[0].times
    assert times is not None
    assert min(times.of(part) - before.of(part) for part in PARTS) >= 0, "it goes on counting its time"
    assert times.weights_s > before.weights_s > 0, "the engine was made twice"
    assert times.forward_s > before.forward_s > 0
    a = (tmp_path / "whole" / "weights" / "model.safetensors").read_bytes()
    assert a == (tmp_path / "parts" / "weights" / "model.safetensors").read_bytes()


def test_the_parts_of_a_trials_time_are_its_wall_time(tmp_path: Path) -> None:
    began = time.perf_counter()
    outcome, reports = run(tmp_path, run__eval_at_tokens=(700,))
    wall_s = time.perf_counter() - began
    assert outcome is not None
    assert outcome.times is not None
    assert outcome.times.total_s == pytest.approx(wall_s, rel=0.05)
    spent = {part: outcome.times.of(part) for part in PARTS}
    assert min(spent.values()) > 0, spent
    steps = outcome.times.data_s + outcome.times.forward_s + outcome.times.backward_s + outcome.times.step_s
    assert steps == pytest.approx(outcome.train_s, rel=0.05), "optimizer steps are these four"
    assert outcome.times.evaluate_s >= sum(r.eval.seconds for r in reports if r.eval)
    for earlier, later in pairwise(r.times for r in reports):
        assert earlier is not None
        assert later is not None
        assert all(earlier.of(part) <= later.of(part) for part in PARTS), "they are since the trial began"


def test_a_checkpoint_from_before_times_were_kept_is_taken_up(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"run__eval_at_tokens": (800,)}
    run(tmp_path, stop_after=3, **changes)
    (progress,) = (tmp_path / "checkpoints").glob("*/progress.json")
    old = json.loads(progress.read_text())
    del old["times"]
    progress.write_text(json.dumps(old))
    manifest = json.loads((progress.parent / "manifest.json").read_text())
    manifest["progress.json"] = asdict(digest_on_disk(progress))
    (progress.parent / "manifest.json").write_text(json.dumps(manifest))
    _, reports = run(tmp_path, **changes)
    assert reports[0].tokens_seen > 800
    assert reports[0].times is not None


def test_same_seed_same_trial_other_seed_other_trial(tmp_path: Path) -> None:
    outcomes = [run(tmp_path / str(k), run__seed=seed)[0] for k, seed in enumerate((3, 3, 4))]
    nlls = [o.eval_nll for o in outcomes if o is not None]
    assert nlls[0] == nlls[1] != nlls[2]


def test_a_skipped_step_takes_its_examples_out_and_no_others(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    config, emit = toy_train_config(), lambda _: True
    outcome = train(
        config, 7, PREPARED, BASE, tmp_path, emit, time.time(), (0, 16, 24), lambda *at: seen.append(at)
    )
    assert outcome is not None
    assert outcome.status == "finished"
    steps = [at for at in seen if at[1] is not None]
    assert steps == [(k, place) for k, place in enumerate([8, *range(32, 8 * outcome.steps + 24, 8)])]
    taken = Order(PREPARED.train.sources, (), 0).take
    lengths = sum(
        int(PREPARED.train.lengths[taken(place, 8)].sum()) for _, place in steps if place is not None
    )
    assert outcome.tokens_seen == lengths
    assert seen[-1] == (outcome.steps, None), "evaluation and export are no step"


def test_diverged_trial_says_so_and_never_reports_a_number_that_is_not_finite(tmp_path: Path) -> None:
    outcome, reports = run(tmp_path, optim__lr=100.0, optim__clip_norm=0.0, run__max_tokens=20_000)
    assert outcome is not None
    assert outcome.status == "diverged"
    assert outcome.checkpoint is None
    assert outcome.tokens_seen < 10_000
    assert all(r.trial == 7 for r in reports)


def test_effective_batch_larger_than_an_epoch_goes_on_into_the_next(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, optim__effective_batch_size=300, run__max_tokens=6000)
    assert outcome is not None
    assert outcome.steps == 2


def test_memory_is_flat_over_trials(tmp_path: Path) -> None:
    process, sizes, engines = psutil.Process(os.getpid()), [], []
    for k in range(8):
        run(tmp_path / str(k), engine__zero_stage=k % 4, run__max_tokens=600)
        gc.collect()
        sizes.append(process.memory_info().rss / 2**20)
        engines.append(sum(type(o).__name__ == "DeepSpeedEngine" for o in gc.get_objects()))
    assert engines == [0] * 8
    assert sizes[-1] - sizes[3] < 20, f"MiB after each trial: {sizes}"


def test_weighted_sources_are_taken_as_often_as_asked(tmp_path: Path) -> None:
    prepared = toy_prepared(sources=2)
    config = toy_train_config(data__sources=("a", "b"), data__weights=(1.0, 0.5))
    outcome = train(config, 0, prepared, BASE, tmp_path, lambda _: True, time.time())
    assert outcome is not None
    assert outcome.status == "finished"
