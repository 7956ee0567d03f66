"""What a model can read: as many positions as it has, and the tokens of its embedding.

Past its positions GPT-J fails in the middle of training, and a model of rotary embeddings goes on with angles
that it has never seen (Press et al. 2022, arXiv:2108.12409, section 2.2), which nothing would tell.
"""

import math
from collections.abc import Mapping
from typing import Any

from train_fn.config import ModelConfig, TrainConfig, check


def positions_of(raw: Mapping[str, Any]) -> int | None:
    """Return the positions that the content of a `config.json` gives a model.

    Rotary embeddings that are scaled reach `factor` times as far as they were trained. Where the
    configuration counts that in already, it says no less.

    Returns:
        None when it does not say.
    """
    positions = raw.get("n_positions" if raw.get("model_type") == "gptj" else "max_position_embeddings")
    if not isinstance(positions, int):
        return None
    scaling = raw.get("rope_parameters") or raw.get("rope_scaling")
    if not isinstance(scaling, Mapping):
        return positions
    factor, trained = scaling.get("factor"), scaling.get("original_max_position_embeddings", positions)
    if not isinstance(factor, int | float) or not isinstance(trained, int) or not math.isfinite(factor):
        return positions
    return max(positions, int(factor * trained))


def check_positions(config: TrainConfig, positions: int | None) -> None:
    """Refuse examples that may be longer than the model has positions.

    Args:
        config: The trial.
        positions: Of its model; None is unknown, and nothing is refused.

    Raises:
        InputError: They may be.
    """
    if positions is None:
        return
    longest, path = config.data.max_example_tokens, config.model.path
    rule = f"is more than the {positions:,} positions of model.path = {path!r}"
    fix = f"set it to {positions} or less, or take a model of more positions"
    check(longest <= positions, "data.max_example_tokens", longest, rule, fix)


def check_vocabulary(model: ModelConfig, vocabulary: int, highest_token: int) -> None:
    """Refuse data with tokens that the model has no embedding for.

    Args:
        model: Whose tokenizer prepared the data.
        vocabulary: Rows of the model's embedding.
        highest_token: In the data.

    Raises:
        InputError: There are some.
    """
    rule = f"has {vocabulary:,} embeddings, and its tokenizer writes token {highest_token:,} in this data"
    fix = "give the model its own tokenizer, or enlarge its embedding (resize_token_embeddings)"
    check(highest_token < vocabulary, "model.path", model.path, rule, fix)
