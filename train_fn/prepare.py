"""From sources to tokenised examples on disk: read, clean, split, tokenise once.

`train_fn.prepared` opens what is written here.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from train_fn import sources
from train_fn.batches import Order
from train_fn.clean import clean_examples, exchange
from train_fn.config import DataConfig
from train_fn.data_report import DataReport, Drops, larger_limits, write_report
from train_fn.duplicates import near_duplicates, pair_hash
from train_fn.errors import InputError
from train_fn.formats import Example
from train_fn.prepared import Prepared, open_prepared
from train_fn.split import Sides, split
from train_fn.tokenizer import Tokenised, tokenise

_VERSION = "9"
"""Counts up when the same settings give other examples, or more is kept of them."""
_BATCH = 4096
_SETTINGS = {
    "missing end token": "clean.end_token",
    "too short a reply": "clean.min_reply_chars",
    "stray marker": "clean.markers",
    "repetition": "clean.max_repeat",
    'unbalanced * or "': "clean.unbalanced",
    "language": "clean.languages",
    "short conversation": "clean.min_median_reply_chars",
    "exact duplicate": "clean.exact_duplicates",
    "over-length": "max_example_tokens",
    "near duplicate": "clean.near_duplicates",
}
"""Reason for a drop -> the setting of `data` that decides it; other reasons have none."""


def data_key(config: DataConfig, tokenizer_key: str, cache_dir: Path) -> str:
    """Return the hash under which prepared data is kept. How often a source is taken is not part of it.

    Raises:
        InputError: A source cannot be opened.
    """
    settings = {k: v for k, v in asdict(config).items() if k not in ("weights", "sources")}
    memo_dir = cache_dir / "content-hashes"
    contents = [sources.fingerprint(address, config.hub_split, memo_dir) for address in config.sources]
    names = [address.rsplit("/", 1)[-1] for address in config.sources]
    identity = json.dumps([_VERSION, tokenizer_key, contents, names, settings], sort_keys=True)
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


def prepare(
    config: DataConfig, load_tokenizer: Callable[[], Any], tokenizer_key: str, cache_dir: Path
) -> Prepared:
    """Prepare the data, or open it when these sources were prepared with these settings before.

    The folder appears whole or not at all; of two processes that race, one wins and both open the same.

    Args:
        config: Sources, rules, format and split.
        load_tokenizer: Called only when there is something to tokenise.
        tokenizer_key: Hash of that tokenizer.
        cache_dir: Where prepared data is kept, a folder for each data hash.

    Raises:
        InputError: A source cannot be read, nothing is left to train or evaluate on, the weights take nothing
            of it, or the disk is full.
    """
    folder = cache_dir / data_key(config, tokenizer_key, cache_dir)
    if not (folder / "report.json").exists():
        partial = cache_dir / f".{folder.name}.{os.getpid()}"
        try:
            partial.mkdir(parents=True, exist_ok=True)
            _write(config, load_tokenizer(), partial)
            partial.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise InputError(
                    f"cannot write {cache_dir} ({error.strerror}); make room or use --storage"
                ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    prepared = open_prepared(folder)
    Order(prepared.train.sources, config.weights, seed=0)  # refuses weights that take nothing
    return prepared


def training_texts(config: DataConfig) -> list[str]:
    """Return the texts of the training side, prompt and reply together: a tokenizer is trained on them."""
    cleaned = clean_examples(config, "", Drops()).examples
    sides = split(cleaned, config.eval_fraction, config.max_eval_examples, config.split_seed)
    return [cleaned[i].prompt + cleaned[i].reply for i in sides.train]


def _write(config: DataConfig, tokenizer: Any, folder: Path) -> None:
    """Prepare from scratch into an empty folder."""
    drops = Drops()
    cleaned = clean_examples(config, tokenizer.eos_token, drops)
    kept, tokens = _tokenised(cleaned.examples, config, tokenizer, drops)
    if config.clean.near_duplicates:
        kept, tokens = _without_near(kept, tokens, config.clean.near_duplicate_jaccard, drops)
    sides = split(kept, config.eval_fraction, config.max_eval_examples, config.split_seed)
    leaked = _leaks(kept, sides, config)
    for reason, indices in (("held out, not needed", sides.unused), ("like a held-out one", sorted(leaked))):
        for i in indices:
            drops.add(reason, kept[i].id, exchange(kept[i]))
    train = [i for i in sides.train if i not in leaked]
    _check_left(cleaned.read, len(train), len(sides.eval), drops, config.max_example_tokens)
    highest = max(
        _write_split([kept[i] for i in indices], [tokens[i] for i in indices], folder / f"{name}.arrow")
        for name, indices in (("train", train), ("eval", sides.eval))
    )
    report = DataReport(
        read=cleaned.read,
        train=len(train),
        eval=len(sides.eval),
        dropped=drops.counts,
        shown={reason: tuple(some) for reason, some in drops.shown.items()},
        train_tokens=sum(len(tokens[i].ids) for i in train),
        eval_tokens=sum(len(tokens[i].ids) for i in sides.eval),
        eval_answer_tokens=sum(len(tokens[i].ids) - tokens[i].prompt_length for i in sides.eval),
        sources=config.sources,
        conversations=cleaned.conversations,
        shortened=sum(kept[i].is_shortened for i in [*train, *sides.eval]),
        highest_token=highest,
        eval_conversations=len({kept[i].group for i in sides.eval}),
        max_example_tokens=config.max_example_tokens,
        would_keep=larger_limits(drops.lengths, config.max_example_tokens),
    )
    write_report(report, folder / "report.json")


def _tokenised(
    examples: Sequence[Example], config: DataConfig, tokenizer: Any, drops: Drops
) -> tuple[list[Example], list[Tokenised]]:
    """Tokenise, and drop what is too long; nothing is ever cut."""
    kept: list[Example] = []
    tokens: list[Tokenised] = []
    longest = config.max_example_tokens
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        for example, ids in zip(batch, tokenise(batch, tokenizer, config.prompt_format), strict=True):
            if len(ids.ids) <= longest:
                kept.append(example)
                tokens.append(ids)
            elif config.clean.over_length:
                drops.lengths.append(len(ids.ids))
                drops.add("over-length", example.id, f"{len(ids.ids)} tokens: {exchange(example)}")
            else:
                rule = f"has {len(ids.ids)} tokens, more than data.max_example_tokens = {longest}"
                raise InputError(
                    f"{example.id} {rule}; raise it, or --set data.clean.over_length=true to drop such"
                )
    return kept, tokens


def _without_near(
    examples: list[Example], tokens: list[Tokenised], jaccard: float, drops: Drops
) -> tuple[list[Example], list[Tokenised]]:
    drops.start("near duplicate")
    near = near_duplicates(examples, jaccard)
    for i in sorted(near):
        drops.add("near duplicate", examples[i].id, exchange(examples[i]))
    left = [i for i in range(len(examples)) if i not in near]
    return [examples[i] for i in left], [tokens[i] for i in left]


def _leaks(kept: Sequence[Example], sides: Sides, config: DataConfig) -> set[int]:
    """Return training examples that say what a held-out one says, so that nothing is learned by heart.

    Rows that have their prompt as one text may be several replies to it, of which each opens a dialogue.
    """
    held = {pair_hash(kept[i]) for i in sides.eval}
    asked = {kept[i].prompt for i in sides.eval if kept[i].is_rendered}
    leaked = {
        i
        for i in sides.train
        if pair_hash(kept[i]) in held or (kept[i].is_rendered and kept[i].prompt in asked)
    }
    if not config.clean.near_duplicates:  # else they have gone before the split
        both = [*sides.eval, *sides.train]
        near = near_duplicates([kept[i] for i in both], config.clean.near_duplicate_jaccard)
        leaked |= {both[k] for k in near if k >= len(sides.eval)}
    return leaked


def _check_left(read: int, train: int, held_out: int, drops: Drops, longest: int) -> None:
    """Refuse data with which no search can work."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in drops.counts.items() if n) or "none dropped"
    most = max(drops.counts, key=drops.counts.__getitem__, default="")
    loosen = ""
    if drops.counts.get(most) and most in _SETTINGS:
        loosen = f", or change data.{_SETTINGS[most]}{f' = {longest}' if most == 'over-length' else ''}"
    if not held_out:
        raise InputError(
            f"data.sources: of {read} replies none is left to evaluate on ({reasons}); "
            f"give at least two conversations{loosen}"
        )
    if not train:
        raise InputError(
            f"data.sources: of {read} replies none is left to train on ({reasons}); give more data{loosen}"
        )


def _write_split(examples: Sequence[Example], tokens: Sequence[Tokenised], file: Path) -> int:
    """Write one Arrow file with a single batch, so that its columns are read without copying.

    Returns:
        The highest token id in it.
    """
    lengths = np.fromiter((len(t.ids) for t in tokens), np.int64, len(tokens))
    values = np.fromiter((token for t in tokens for token in t.ids), np.int32, int(lengths.sum()))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    numbers = {group: number for number, group in enumerate(dict.fromkeys(e.group for e in examples))}
    columns = {
        "ids": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values)),
        "prompt_length": pa.array([t.prompt_length for t in tokens], pa.int32()),
        "source": pa.array([e.source for e in examples], pa.int16()),
        "conversation": pa.array([numbers[e.group] for e in examples], pa.int32()),
        "id": pa.array([e.id for e in examples], pa.string()),
    }
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return int(values.max())
