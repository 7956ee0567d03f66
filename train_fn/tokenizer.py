"""Tokenizers: load one, know it by its hash, train a small one, and turn an example into token ids."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_fn.bundled_path import bundled_folder
from train_fn.config import ModelConfig, PromptFormat
from train_fn.disk import is_full, unwritten
from train_fn.errors import InputError
from train_fn.formats import Example
from train_fn.fragments import encode
from train_fn.model_files import is_hub_id

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
_INSIDE = "\n"
"""Merges with no word, and hardly with anything else; a reply that it merges with is encoded alone."""
_TOKENIZER_FILES = (".json", ".txt", ".model", ".jinja")


def load_tokenizer(path: str, gguf_file: str = "", offline: bool = False) -> Any:
    """Load the tokenizer of a model.

    Args:
        path: `bundled`, a folder, or a Hub id.
        gguf_file: Name of a GGUF file in `path`; empty for a tokenizer of files.
        offline: Take one of the Hub from its cache on this machine or not at all.

    Raises:
        InputError: There is none, or it has no end token.
    """
    from transformers import AutoTokenizer

    folder = str(bundled_folder()) if path == "bundled" else path
    gguf = {"gguf_file": gguf_file} if gguf_file else {}
    is_local = Path(folder).exists()
    if not is_local and not is_hub_id(folder):
        raise InputError(f"model.path = {path!r} is no folder; give a folder, a Hub id or 'bundled'")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=is_local or offline, **gguf)
    except Exception as error:  # every tokenizer class fails in its own way on a broken folder
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model.path = {path!r} has no readable tokenizer ({first}); check the folder"
        ) from error
    if not tokenizer("a", add_special_tokens=False).input_ids:  # what is made up when the files are missing
        raise InputError(f"model.path = {path!r} has no tokenizer files; add tokenizer.json to the folder")
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"model.path = {path!r}: its tokenizer has no end token, so replies cannot end; give it one"
        )
    return tokenizer


def save_tokenizer(model: ModelConfig, folder: Path) -> None:
    """Write the tokenizer of a model beside trained weights, so that the folder is a whole model.

    Raises:
        InputError: The model has no readable tokenizer, or the disk does not take it.
    """
    tokenizer = load_tokenizer(model.path, model.gguf_file)
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if not is_full(error):
            raise
        raise InputError(unwritten("the tokenizer", folder, error)) from error


def tokenizer_key(path: str, gguf_file: str = "", offline: bool = False) -> str:
    """Return a hash that changes when the tokenizer of a model may have changed.

    A local folder is known by its files, without loading anything; a model on the Hub by what it loads,
    `offline` from its cache alone.

    Raises:
        InputError: The model has no readable tokenizer.
    """
    folder = bundled_folder() if path == "bundled" else Path(path)
    digest = hashlib.blake2b(digest_size=16)
    if gguf_file and folder.is_dir():
        digest.update(f"{gguf_file} {(folder / gguf_file).stat().st_size}".encode())
    elif folder.is_dir():
        for file in sorted(folder.iterdir()):
            if file.suffix in _TOKENIZER_FILES and file.is_file():
                digest.update(file.name.encode() + file.read_bytes())
    else:
        tokenizer = load_tokenizer(path, gguf_file, offline)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rules = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
        digest.update(f"{rules} {tokenizer.special_tokens_map} {tokenizer.chat_template}".encode())
    return digest.hexdigest()


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: Path) -> None:
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016, arXiv:1508.07909) and save it to `folder`.

    Its end token is `<|endoftext|>`; it adds nothing by itself, as GPT-NeoX's does not.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=PADDING,
    )
    wrapped.save_pretrained(folder)


@dataclass(frozen=True)
class Tokenised:
    """Token ids of one example."""

    ids: list[int]
    prompt_length: int
    """Tokens before the answer."""


def tokenise(examples: Sequence[Example], tokenizer: Any, prompt_format: PromptFormat) -> list[Tokenised]:
    """Turn examples into ids: `[BOS] prompt reply EOS`.

    Prompt and reply are tokenised apart, so that no token straddles the border of the loss; else the ids are
    those of the whole text. BOS is added where the tokenizer adds one by itself, EOS once, and neither twice.

    Raises:
        InputError: A chat template is asked for that the tokenizer does not have, or that writes a reply
            differently once it is there.
    """
    if not examples:
        return []
    if prompt_format == "chat_template":
        pairs = [_by_template(example, tokenizer) for example in examples]
        lead: list[int] = []
    else:
        pairs = [(example.prompt, example.reply) for example in examples]
        lead = _leading(tokenizer)
    end = tokenizer.eos_token_id
    result = []
    for example, (prompt, reply) in zip(examples, encode_pairs(pairs, tokenizer), strict=True):
        head = prompt if prompt[: len(lead)] == lead else lead + prompt
        tail = reply[: reply.index(end)] if end in reply else reply
        if len(tail) < len(reply) and tokenizer.decode(reply[len(tail) + 1 :]).strip():
            raise InputError(
                f"{example.id} has the end token {tokenizer.eos_token!r} in the middle of its reply; "
                "name it in data.clean.markers to drop such examples"
            )
        result.append(Tokenised([*head, *tail, end], len(head)))
    return result


def encode_pairs(pairs: Sequence[tuple[str, str]], tokenizer: Any) -> Iterable[tuple[list[int], list[int]]]:
    """Return the ids of each prompt and of the reply behind it.

    Tokenizers in the manner of SentencePiece put a space before a text (Llama, Mistral). A reply stands
    inside of one and has none, so it is encoded behind what its prompt ends with, whose ids are cut off.
    """
    if not _puts_space_before(tokenizer):
        ids = encode([text for pair in pairs for text in pair], tokenizer)
        return zip(ids[::2], ids[1::2], strict=True)
    # Some do so behind each of their marks as well.
    marks = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    before = [_end_of(prompt, marks) for prompt, _ in pairs]
    prompts = encode([prompt for prompt, _ in pairs], tokenizer)
    behind = encode([end + reply for end, (_, reply) in zip(before, pairs, strict=True)], tokenizer)
    ends = {end: encode([end], tokenizer)[0] for end in set(before)}
    replies = [
        ids[len(ends[end]) :] if ids[: len(ends[end])] == ends[end] else encode([reply], tokenizer)[0]
        for end, ids, (_, reply) in zip(before, behind, pairs, strict=True)
    ]
    return zip(prompts, replies, strict=True)


def _puts_space_before(tokenizer: Any) -> bool:
    alone, behind, cut = encode(["a", f"{_INSIDE}a", _INSIDE], tokenizer)
    return behind[len(cut) :] != alone


def _end_of(prompt: str, marks: Iterable[str]) -> str:
    """Return what stands before a reply as far as it matters: a mark, or that it is inside of a text."""
    return next((mark for mark in marks if prompt.endswith(mark)), _INSIDE) if prompt else ""


def _leading(tokenizer: Any) -> list[int]:
    """Return the ids the tokenizer puts before a text: BOS, or nothing."""
    bare = tokenizer("a", add_special_tokens=False).input_ids
    full = tokenizer("a").input_ids
    return [tokenizer.bos_token_id] if full[: len(full) - len(bare)][:1] == [tokenizer.bos_token_id] else []


def _by_template(example: Example, tokenizer: Any) -> tuple[str, str]:
    """Return prompt and reply as the tokenizer's chat template writes them."""
    if not tokenizer.chat_template:
        raise InputError(
            "data.prompt_format = 'chat_template' needs a template; this tokenizer has none, set it to plain"
        )
    roles = {"user": "user", "bot": "assistant"}
    system = [{"role": "system", "content": example.persona}] if example.persona else []
    asked = system + [{"role": roles[turn.speaker], "content": turn.text} for turn in example.history]
    answered = [*asked, {"role": "assistant", "content": example.reply.strip()}]
    try:
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(answered, tokenize=False)
    except Exception as error:  # templates raise whatever their authors chose
        raise InputError(
            f"the chat template refuses {example.id} ({error}); set data.prompt_format=plain"
        ) from error
    if not whole.startswith(prompt):
        raise InputError(
            f"the chat template writes the prompt of {example.id} differently before and after its reply; "
            "set data.prompt_format=plain"
        )
    return prompt, whole[len(prompt) :]
