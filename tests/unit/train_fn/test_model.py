"""Reading a base model and making fresh ones of it."""

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.toys import save_toy_model, toy_base, toy_config, toy_model, toy_train_config
from tests.unit.train_fn.test_checkpoint_writer import files_of_at_most
from train_fn.config import LoraConfig, ModelConfig
from train_fn.errors import InputError
from train_fn.model import fresh_model, load_base


@pytest.mark.parametrize("kind", ["gpt_neox", "qwen2", "gptj"])
@pytest.mark.parametrize("shared", [False, True])
def test_folder_round_trip(tmp_path: Path, kind: str, shared: bool) -> None:
    folder = save_toy_model(tmp_path / "model", kind)
    base = load_base(ModelConfig(path=str(folder)), cache_dir=tmp_path / "cache" if shared else None)
    again = load_base(ModelConfig(path=str(folder)), cache_dir=tmp_path / "cache" if shared else None)
    assert base.key == again.key
    model = fresh_model(again, toy_train_config(), torch.float32)
    for name, parameter in toy_model(kind).named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter, rtol=0, atol=0)
    assert base.parameters == sum(p.numel() for p in toy_model(kind).parameters())
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (kind == "qwen2")


def test_a_host_copy_that_the_disk_does_not_take_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    config, cache = ModelConfig(path=str(save_toy_model(tmp_path / "model"))), tmp_path / "cache"
    said = rf"^the host copy of the base model cannot be written below {cache}: .* MiB .*; make room"
    with files_of_at_most(10_000), pytest.raises(InputError, match=said) as caught:
        load_base(config, cache_dir=cache)
    assert "\n" not in str(caught.value)
    assert [file.suffix for file in cache.iterdir()] == [".lock"]
    load_base(config, cache_dir=cache)
    assert len({file.stat().st_mode for file in cache.iterdir()}) == 1


@pytest.mark.parametrize("kind", ["gptj", "gpt_neox"])
def test_examples_longer_than_the_positions_are_refused(kind: str) -> None:
    engine = {"engine__max_tokens_per_micro_batch": 1024}
    fresh_model(toy_base(kind), toy_train_config(data__max_example_tokens=512, **engine), torch.float32)
    with pytest.raises(InputError, match=r"data.max_example_tokens = 513 is more than the 512 positions"):
        fresh_model(toy_base(kind), toy_train_config(data__max_example_tokens=513, **engine), torch.float32)


def test_trial_never_writes_to_the_base() -> None:
    base = toy_base()
    before = {k: v.clone() for k, v in base.state.items()}
    model = fresh_model(base, toy_train_config(), torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(base.state[k], before[k]) for k in before)
    assert base.config._attn_implementation != "packed"


def test_key_follows_the_weights_and_the_seed(tmp_path: Path) -> None:
    folder = save_toy_model(tmp_path / "model")
    config = ModelConfig(path=str(folder))
    old = load_base(config).key
    toy_model(seed=1).save_pretrained(folder)
    assert load_base(config).key != old
    random = dataclasses.replace(config, init="random")
    bases = [load_base(random, seed) for seed in (1, 1, 2)]
    assert bases[0].key == bases[1].key != bases[2].key
    name = "gpt_neox.embed_in.weight"
    assert torch.equal(bases[0].state[name], bases[1].state[name])
    assert not torch.equal(bases[0].state[name], bases[2].state[name])


def test_random_init_needs_no_weights_and_leaves_the_seed_alone(tmp_path: Path) -> None:
    toy_config().save_pretrained(tmp_path)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_base(ModelConfig(path=str(tmp_path), init="random"), 5)
    assert torch.equal(torch.rand(1), expected)


def test_only_adapters_train_under_lora() -> None:
    config = toy_train_config(model__lora=LoraConfig(rank=2, targets=("dense",)))
    model = fresh_model(toy_base(), config, torch.float32)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 4
    assert all(".attention.dense.lora_" in n for n in trained)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: ModelConfig(path=str(p / "nowhere")), "is no folder"),
        (lambda p: ModelConfig(path=str(p)), "cannot be read"),
    ],
)
def test_unreadable_model_is_one_line(tmp_path: Path, make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says) as caught:
        load_base(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_broken_weights_foreign_architectures_and_wrong_targets_are_one_line(tmp_path: Path) -> None:
    folder = save_toy_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"nonsense")
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert"}')
    for path, says in ((folder, "cannot be read"), (bert, "is a 'bert' model")):
        with pytest.raises(InputError, match=says):
            load_base(ModelConfig(path=str(path)))
    config = toy_train_config(model__lora=LoraConfig(rank=2, targets=("no_such_layer",)))
    with pytest.raises(InputError, match=r"model.lora.targets .*cannot be adapted"):
        fresh_model(toy_base(), config, torch.float32)
