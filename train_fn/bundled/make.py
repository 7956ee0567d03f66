"""Make the bundled model's tokenizer, and install its weights (see `spaces.exp0` for the whole recipe).

python -m train_fn.bundled.make tokenizer
python -m train_fn.bundled.make install WEIGHTS_FOLDER
"""

import argparse
from pathlib import Path

from train_fn.bundled_path import bundled_folder

VOCABULARY = 4096


def write_tokenizer(folder: Path) -> None:
    """Train the tokenizer on the training split's texts and write it, with the model's shape, to `folder`."""
    from transformers import GPTNeoXConfig

    from train_fn.config import DataConfig
    from train_fn.prepare import training_texts
    from train_fn.tokenizer import train_tokenizer

    train_tokenizer(
        training_texts(DataConfig(prompt_format="plain", max_context_turns=1)), VOCABULARY, folder
    )
    shape = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=160,
        num_hidden_layers=4,
        num_attention_heads=5,
        intermediate_size=640,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        use_parallel_residual=True,
        bos_token_id=0,
        eos_token_id=0,
        architectures=["GPTNeoXForCausalLM"],
    )
    shape.save_pretrained(folder)


def install_weights(weights: Path, folder: Path) -> None:
    """Copy trained weights into the package in half precision, which halves the repository's share."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float16)
    model.save_pretrained(folder)


def main() -> None:
    """Parse the command line and do the step it names."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("tokenizer")
    steps.add_parser("install").add_argument("weights", type=Path)
    args = parser.parse_args()
    if args.step == "tokenizer":
        write_tokenizer(bundled_folder())
    else:
        install_weights(args.weights, bundled_folder())


if __name__ == "__main__":
    main()
