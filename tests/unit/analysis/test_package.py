import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from analysis.package import adapter_base, write_package
from spaces.promotion import BehaviourConfig, PromotionConfig
from tests.full_disk import files_of_at_most
from train_fn.bundled_path import bundled_folder
from train_fn.errors import InputError

RULES, SAMPLING = PromotionConfig(), BehaviourConfig()


def dtypes(folder: Path) -> set[torch.dtype]:
    return {t.dtype for file in folder.glob("*.safetensors") for t in load_file(file).values()}


def test_a_package_is_a_whole_model_with_the_sampling_settings(tmp_path: Path) -> None:
    write_package(bundled_folder(), tmp_path / "sent", RULES, SAMPLING)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "sent")
    assert model.dtype == torch.float16, "a half precision is kept"
    assert AutoTokenizer.from_pretrained(tmp_path / "sent").eos_token == "<|endoftext|>"
    settings = GenerationConfig.from_pretrained(tmp_path / "sent")
    assert (settings.temperature, settings.top_p, settings.top_k) == (0.85, 0.9, 40)
    assert settings.repetition_penalty == 1.03
    assert settings.do_sample
    assert settings.eos_token_id == model.config.eos_token_id


def test_weights_can_be_read_by_whoever_can_read_the_rest_of_a_package_even_one_from_before(
    tmp_path: Path,
) -> None:
    write_package(bundled_folder(), tmp_path / "sent", RULES, SAMPLING)
    weights = tmp_path / "sent" / "model.safetensors"
    weights.chmod(0o600)
    before = weights.stat()
    write_package(bundled_folder(), tmp_path / "sent", RULES, SAMPLING)
    assert len({file.stat().st_mode for file in (tmp_path / "sent").iterdir()}) == 1
    assert weights.stat().st_mtime_ns == before.st_mtime_ns


def test_what_was_trained_in_fp32_is_written_as_bf16(tmp_path: Path) -> None:
    write_package(bundled_folder(), tmp_path / "wide", replace(RULES, dtype="fp32"), SAMPLING)
    write_package(tmp_path / "wide", tmp_path / "sent", RULES, SAMPLING)
    assert dtypes(tmp_path / "sent") == {torch.bfloat16}


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_weights_have_the_number_format_asked_for(tmp_path: Path, dtype: str) -> None:
    write_package(bundled_folder(), tmp_path / "sent", replace(RULES, dtype=dtype), SAMPLING)
    wanted = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    assert dtypes(tmp_path / "sent") == {wanted}


def test_large_models_come_in_several_files_with_an_index(tmp_path: Path) -> None:
    rules = replace(RULES, max_shard_gb=0.001, dtype="fp32")
    write_package(bundled_folder(), tmp_path / "sent", rules, SAMPLING)
    index = json.loads((tmp_path / "sent" / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    assert len(shards) > 2
    whole = AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.float32).state_dict()
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "sent").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_same_weights_make_the_same_bytes_and_replace_what_stood_there(tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    (folder / "old.bin").write_text("left over")
    write_package(bundled_folder(), folder, RULES, SAMPLING)
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    write_package(bundled_folder(), folder, RULES, SAMPLING)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert "old.bin" not in first
    assert [path.name for path in tmp_path.iterdir()] == ["sent"]


def test_a_weight_beyond_fp16_is_refused_and_nothing_is_left_in_its_place(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.float32)
    with torch.no_grad():
        next(model.parameters())[0, 0] = 1e6
    model.save_pretrained(tmp_path / "trained")
    AutoTokenizer.from_pretrained(bundled_folder()).save_pretrained(tmp_path / "trained")
    with pytest.raises(InputError, match=r"promotion.dtype = 'fp16' cannot hold .*; set it to bf16"):
        write_package(tmp_path / "trained", tmp_path / "sent", replace(RULES, dtype="fp16"), SAMPLING)
    assert not (tmp_path / "sent").exists()


@pytest.mark.parametrize("size", [100, 20_000, 2_000_000])
def test_a_full_disk_is_one_line_and_leaves_what_stood_there(tmp_path: Path, size: int) -> None:
    """Full at the first file, at the tokenizer, at the weights."""
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "config.json").write_text("{}")
    with (
        files_of_at_most(size),
        pytest.raises(
            InputError, match=r"cannot write .*/sent \(.*File too large.*\); make room there and run"
        ),
    ):
        write_package(bundled_folder(), tmp_path / "sent", RULES, SAMPLING)
    assert [path.name for path in tmp_path.rglob("*")] == ["sent", "config.json"]


def test_a_trial_without_lora_has_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"was not trained with LoRA; set promotion\.adapter=false"):
        adapter_base(bundled_folder())
    with pytest.raises(InputError, match="was not trained with LoRA"):
        write_package(bundled_folder(), tmp_path / "sent", replace(RULES, adapter=True), SAMPLING)
