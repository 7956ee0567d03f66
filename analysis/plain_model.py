"""A model as everybody else loads it: plain `transformers`, nothing of ours inside.

Judges by the same response NLL as `train_fn.evaluate`, and answers prompts. Imports torch, so everything else
in this package imports it inside functions only.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers import logging as transformers_logging

from analysis.held_out import Pair
from analysis.speech import Reply
from spaces.promotion import BehaviourConfig
from train_fn.bundled_path import bundled_folder
from train_fn.errors import InputError
from train_fn.ratio import ratio_estimate
from train_fn.report import Evaluation

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
MAX_ANSWERING_TOKENS = 16_384
"""Of a batch of prompts with room for their replies: 7.5 GB of keys and values for GPT-J 6B in 16 bits."""
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class PlainModel:
    """A model with its tokenizer, in evaluation mode."""

    model: PreTrainedModel
    tokenizer: Any
    device: torch.device
    end_ids: tuple[int, ...]
    """Tokens that end a reply: the tokenizer's end token, then those the model names besides."""

    @property
    def context(self) -> int:
        """The most tokens the model reads."""
        return int(self.model.config.get_text_config().max_position_embeddings)


class UnreadableError(InputError):
    """The files of a model are no whole model.

    Args:
        named: The model.
        why: What is wrong with it, as the end of a sentence.
        fix: What to do about it where the files are one's own.
    """

    def __init__(self, named: str, why: str, fix: str) -> None:
        super().__init__(f"{named} {why}; {fix}")
        self.why = why


def load_plain(
    path: str, *, revision: str | None = None, gguf_file: str = "", dtype: str = "auto"
) -> PlainModel:
    """Load a model and its tokenizer, on the GPU where there is one.

    Args:
        path: `bundled`, a folder, or a Hub id.
        revision: Branch, tag or commit on the Hub.
        gguf_file: Name of a GGUF file in `path`; empty for safetensors.
        dtype: `fp16`, `bf16`, `fp32`, or `auto`: as the files have it on a GPU, fp32 on a CPU, which computes
            that fastest.

    Raises:
        InputError: Model or tokenizer cannot be read, weights are missing, or there is no end token.
    """
    place = str(bundled_folder()) if path == "bundled" else path
    named = f"model {path!r}" + (f" at revision {revision!r}" if revision else "")
    is_local = Path(place).exists()
    if is_local and revision:
        raise InputError(
            f"{named} is on the Hub, but transformers would read the folder {place!r} that is here; run the "
            "command from another folder"
        )
    if not is_local and (place.startswith((".", "/", "~")) or place.count("/") != 1):
        raise InputError(f"{named} is no folder; give a folder, a Hub id or 'bundled'")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    automatic: Any = "auto" if device.type == "cuda" else torch.float32
    where: dict[str, Any] = {"revision": revision} if revision else {}
    where |= {"gguf_file": gguf_file} if gguf_file else {}
    transformers_logging.disable_progress_bar()
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            place,
            dtype=automatic if dtype == "auto" else DTYPES[dtype],
            output_loading_info=True,
            local_files_only=is_local,
            **where,
        )
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=is_local, **where)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        why, fix = f"cannot be read by transformers: {first}", "check the folder or Hub id"
        raise UnreadableError(named, why, fix) from error
    missing = sorted(info["missing_keys"])
    if missing:
        why = f"lacks {len(missing)} weights ({', '.join(missing[:3])})"
        raise UnreadableError(named, why, "copy the whole model")
    if not tokenizer("a", add_special_tokens=False).input_ids:  # what is made up when the files are missing
        raise UnreadableError(named, "has no tokenizer files", "add tokenizer.json to the folder")
    if tokenizer.eos_token_id is None:
        raise UnreadableError(named, "has no end token, so its replies cannot end", "give its tokenizer one")
    known = model.generation_config.eos_token_id
    more = known if isinstance(known, list) else [] if known is None else [known]
    end_ids = tuple(dict.fromkeys([int(tokenizer.eos_token_id), *more]))
    return PlainModel(model.to(device).eval(), tokenizer, device, end_ids)


def response_nll(plain: PlainModel, pairs: Sequence[Pair], max_tokens: int = 4096) -> Evaluation:
    """Return the NLL of the replies given their prompts, as `train_fn.evaluate` defines it.

    Logits are computed at reply tokens only, and their log-softmax in fp32. A reply without any prompt is
    scored from its second token on.

    Args:
        plain: The model.
        pairs: Prompts with replies; what exceeds the model's context is cut from the prompt's beginning.
        max_tokens: Most tokens of a batch, its padding included.
    """
    began = time.perf_counter()
    prompts = [pair.prompt[-max(1, plain.context - len(pair.reply)) :] for pair in pairs]
    rows = [np.concatenate([prompt, pair.reply]) for prompt, pair in zip(prompts, pairs, strict=True)]
    borders = [max(len(prompt), 1) for prompt in prompts]
    sums = np.zeros(len(rows))
    for batch in _batches([len(row) for row in rows], max_tokens):
        chosen = [rows[i] for i in batch]
        longest = max(map(len, chosen))
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        is_there, scored = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for place, (i, row) in enumerate(zip(batch, chosen, strict=True)):
            ids[place, : len(row)] = torch.from_numpy(row.astype(np.int64))
            is_there[place, : len(row)] = 1
            scored[place, borders[i] - 1 : len(row) - 1] = True  # a token is predicted one place earlier
        owners = scored.nonzero()[:, 0].numpy()
        sums[batch] = np.bincount(owners, _token_nll(plain, ids, is_there, scored), minlength=len(batch))
    tokens = np.array([len(row) - border for row, border in zip(rows, borders, strict=True)], np.int64)
    conversations = tuple(pair.conversation for pair in pairs)
    mean, stderr = ratio_estimate(sums.tolist(), tokens.tolist(), conversations)
    return Evaluation(
        nll=mean,
        stderr=stderr,
        example_nll=tuple((sums / np.maximum(tokens, 1)).tolist()),
        example_tokens=tuple(tokens.tolist()),
        seconds=time.perf_counter() - began,
        example_conversations=conversations,
    )


def _token_nll(plain: PlainModel, ids: Tensor, is_there: Tensor, scored: Tensor) -> NDArray[np.float64]:
    """Return the NLL of the tokens after the scored places, row by row; all arguments are [rows, length]."""
    with torch.inference_mode():
        logits = plain.model(
            input_ids=ids.to(plain.device),
            attention_mask=is_there.to(plain.device),
            logits_to_keep=scored.to(plain.device),
            use_cache=False,
        ).logits
        targets = ids.roll(-1, 1)[scored].to(plain.device)
        nll = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        return nll.double().cpu().numpy()  # type: ignore[no-any-return]


def answer(
    plain: PlainModel, prompts: Sequence[Ids], settings: BehaviourConfig, sampled: bool
) -> list[Reply]:
    """Let a model answer prompts.

    A reply depends on its prompt and the seed, not on the prompts beside it: rows are padded with tokens that
    they hold anyway, so that a penalty for repetition does not notice, and each row has noise of its own.

    Args:
        plain: The model.
        prompts: Token ids; of one too long for the model's context only its end is read.
        settings: How to sample, and how many tokens to say at most.
        sampled: Whether to sample as `settings` say; otherwise the likeliest token follows, without penalty.

    Raises:
        InputError: The model's context has no room for a reply.
    """
    room = plain.context - settings.max_new_tokens
    if room < 1:
        raise InputError(
            f"behaviour.max_new_tokens = {settings.max_new_tokens} fills the model's context of "
            f"{plain.context} tokens; set it to {plain.context // 2}"
        )
    short = [prompt[-room:] if len(prompt) else np.array(plain.end_ids[:1], np.int32) for prompt in prompts]
    lengths = [len(prompt) + settings.max_new_tokens for prompt in short]
    replies: dict[int, Reply] = {}
    for batch in _batches(lengths, MAX_ANSWERING_TOKENS):
        answers = _answer_batch(plain, [short[i] for i in batch], settings, sampled)
        replies |= dict(zip(batch, answers, strict=True))
    return [replies[i] for i in range(len(short))]


def _answer_batch(
    plain: PlainModel, prompts: Sequence[Ids], settings: BehaviourConfig, sampled: bool
) -> list[Reply]:
    longest = max(map(len, prompts))
    ids = torch.stack([_left_padded(prompt, longest) for prompt in prompts])
    is_there = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    plain.model.generation_config = GenerationConfig()  # what a model's own files prefer is not asked here
    with torch.inference_mode():
        said = plain.model.generate(
            ids.to(plain.device),
            attention_mask=is_there.to(plain.device),
            generation_config=GenerationConfig(
                do_sample=False,  # the noise stands in the logits
                max_new_tokens=settings.max_new_tokens,
                eos_token_id=list(plain.end_ids),
                pad_token_id=plain.end_ids[0],
            ),
            logits_processor=LogitsProcessorList(_sampling(prompts, settings) if sampled else []),
        )
    return [_reply(plain, row) for row in said[:, longest:].tolist()]


def _left_padded(prompt: Ids, length: int) -> Tensor:
    return torch.from_numpy(np.pad(prompt.astype(np.int64), (length - len(prompt), 0), mode="edge"))


def _reply(plain: PlainModel, ids: list[int]) -> Reply:
    end = next((place for place, token in enumerate(ids) if token in plain.end_ids), None)
    return Reply(plain.tokenizer.decode(ids[:end]), end is not None)


def _sampling(prompts: Sequence[Ids], settings: BehaviourConfig) -> list[LogitsProcessor]:
    """Return the steps from logits to a sample, in the order in which `generate` takes them itself."""
    return [
        RepetitionPenaltyLogitsProcessor(settings.repetition_penalty),
        TemperatureLogitsWarper(settings.temperature),
        TopKLogitsWarper(settings.top_k),
        TopPLogitsWarper(settings.top_p),
        _Noise([_seed(settings.seed, prompt) for prompt in prompts]),
    ]


def _seed(seed: int, prompt: Ids) -> int:
    digest = hashlib.blake2b(prompt.astype("<i4").tobytes(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little") >> 1


class _Noise(LogitsProcessor):  # type: ignore[misc]
    """Add Gumbel noise, so that the largest score is a sample of the softmax.

    This is the Gumbel-max trick (Gumbel 1954, Statistical Theory of Extreme Values; Maddison et al. 2014,
    arXiv:1411.0030): with E exponential, -log(E) is Gumbel.

    `generate` draws from one generator for all rows; here each row has its own. They stay on the CPU, so that
    a seed means the same on every device.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores, [rows, vocabulary], with the noise of the next token."""
        width = scores.shape[-1]
        noise = [torch.empty(width).exponential_(generator=generator) for generator in self._generators]
        return scores - torch.stack(noise).to(scores.device).log()


def _batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield indices in batches of like lengths, so that little is padding; the longest come first."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
