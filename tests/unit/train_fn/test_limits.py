from dataclasses import replace

import pytest
from transformers import AutoConfig

from train_fn.config import DataConfig, ModelConfig, TrainConfig
from train_fn.errors import InputError
from train_fn.limits import check_positions, check_vocabulary, positions_of

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    ("raw", "positions"),
    [
        ({"model_type": "gptj", "n_positions": 2048}, 2048),
        ({"model_type": "llama", "max_position_embeddings": 4096}, 4096),
        ({"max_position_embeddings": 32768, "rope_scaling": YARN}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": LLAMA3}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2}}, 8192),
        ({"max_position_embeddings": 512, "rope_parameters": {"rope_type": "default"}}, 512),
        ({"max_position_embeddings": 512, "rope_scaling": {"factor": "much"}}, 512),
        ({"max_position_embeddings": 512, "rope_scaling": {"factor": float("inf")}}, 512),
        ({"model_type": "llama"}, None),
    ],
)
def test_positions_are_those_that_scaling_reaches(raw: dict[str, object], positions: int | None) -> None:
    assert positions_of(raw) == positions


def test_a_configuration_that_transformers_has_read_says_the_same() -> None:
    config = AutoConfig.for_model("qwen2", max_position_embeddings=32768, rope_scaling=dict(YARN))
    assert positions_of(config.to_dict()) == 131072
    assert positions_of(AutoConfig.for_model("gptj", n_positions=64).to_dict()) == 64


def test_an_example_may_fill_the_positions_and_no_more() -> None:
    config = TrainConfig(data=DataConfig(max_example_tokens=64))
    check_positions(config, 64)
    check_positions(config, None)
    with pytest.raises(
        InputError,
        match=r"^data.max_example_tokens = 64 is more than the 63 positions of model.path = 'bundled'; .*",
    ):
        check_positions(config, 63)


def test_a_token_beyond_the_embedding_is_refused_with_the_fix() -> None:
    model = replace(ModelConfig(), path="mine")
    check_vocabulary(model, 4096, 4095)
    with pytest.raises(
        InputError, match=r"^model.path = 'mine' has 4,096 embeddings, .*resize_token_embeddings"
    ):
        check_vocabulary(model, 4096, 4096)
