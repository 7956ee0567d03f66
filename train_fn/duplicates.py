"""Find examples that say the same: exactly, or nearly.

Near means a Jaccard similarity of word trigrams at or above a threshold, found with MinHash (Broder 1997,
doi:10.1109/SEQUEN.1997.666900) and locality-sensitive hashing, and confirmed on the trigrams themselves. The
signatures are those of `datasketch`, which a test holds them against, computed for all texts at once.
"""

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from train_fn.formats import Example

BANDS, ROWS = 6, 5
"""Of the locality-sensitive hash from a similarity of 0.85 on: two such texts meet in some band with
probability 1 - (1 - 0.85**5)**6 = 0.97 (0.95: 0.9999)."""
_FOUND, _MOST_HASHES = 0.98, 120
"""Below 0.85: how many of the pairs at the threshold must meet, and what a signature may cost."""
MIN_WORDS = 8
"""Shorter texts are greetings and thanks: they repeat as people do, and only exact copies are dropped."""
_WORDS = re.compile(r"\w+")
_SEED = 1


def exact_duplicates(examples: Sequence[Example]) -> set[int]:
    """Return the indices of examples whose prompt and reply stood before, but for case and white space."""
    seen: set[bytes] = set()
    repeated: set[int] = set()
    for index, example in enumerate(examples):
        digest = _hash(example.prompt, example.reply)
        if digest in seen:
            repeated.add(index)
        seen.add(digest)
    return repeated


def pair_hash(example: Example) -> bytes:
    """Return a hash of message and reply without their history, blind to case and white space."""
    return _hash(example.last_message, example.reply)


def _hash(*texts: str) -> bytes:
    plain = "\0".join(" ".join(text.lower().split()) for text in texts)
    return hashlib.blake2b(plain.encode(errors="replace"), digest_size=12).digest()


def near_duplicates(examples: Sequence[Example], jaccard: float) -> set[int]:
    """Return the indices of examples nearly the same as an earlier one that stays.

    Message and reply count, their history does not: neighbours in a conversation share most of it.

    Args:
        examples: In the order that decides who stays.
        jaccard: Least similarity of the trigram sets, in [0.3, 1].
    """
    bands, rows = bands_and_rows(jaccard)
    shingles = {i: s for i, e in enumerate(examples) if (s := _trigrams(f"{e.last_message} {e.reply}"))}
    dropped: set[int] = set()
    stayed: dict[int, list[int]] = {}
    for i, keys in zip(shingles, shared_bands(list(shingles.values()), bands, rows), strict=True):
        mine = shingles[i]
        like = {j for key in keys for j in stayed.get(key, ())}
        if any(len(mine & shingles[j]) >= jaccard * len(mine | shingles[j]) for j in like):
            dropped.add(i)
        else:
            for key in keys:
                stayed.setdefault(key, []).append(i)
    return dropped


def bands_and_rows(jaccard: float) -> tuple[int, int]:
    """Return how many bands of how many rows find the pairs of a similarity.

    Texts of similarity s meet in one of b bands of r rows with probability 1 - (1 - s^r)^b, which rises most
    steeply at about (1/b)^(1/r) (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.2). The
    more rows, the fewer strangers meet by chance, to be told apart by exact comparison; the more bands are
    needed, the more hashes.

    Args:
        jaccard: Least similarity, in [0.3, 1].
    """
    if jaccard >= 0.85:
        return BANDS, ROWS
    for rows in range(ROWS, 0, -1):
        bands = math.ceil(math.log(1 - _FOUND) / math.log(1 - jaccard**rows))
        if bands * rows <= _MOST_HASHES:
            return bands, rows
    raise AssertionError(f"no signature finds a similarity of {jaccard}")


def shared_bands(sets: Sequence[frozenset[str]], bands: int, rows: int) -> list[list[int]]:
    """Return, for each set, a number for each band of its signature that other sets have too."""
    if not sets:
        return []
    found: list[list[int]] = [[] for _ in sets]
    drawn = signatures(sets, bands * rows)
    first = 0
    for band in range(bands):
        part = np.ascontiguousarray(drawn[:, band * rows : (band + 1) * rows])
        whole = part.view(np.dtype((np.void, part.dtype.itemsize * rows))).ravel()
        _, kinds, counts = np.unique(whole, return_inverse=True, return_counts=True)
        for i in np.flatnonzero(counts[kinds] > 1).tolist():
            found[i].append(first + int(kinds[i]))
        first += len(counts)
    return found


def signatures(sets: Sequence[frozenset[str]], size: int) -> NDArray[np.uint32]:
    """Return MinHash signatures, shape [sets, size].

    Each text is hashed to 32 bits (xxHash), mixed once (the finalizer of MurmurHash3), and sent through maps
    a * h + b modulo 2^32 with odd a, which are bijections; a signature holds the least value of each map.

    Args:
        sets: None of them empty.
        size: Hashes of a signature.
    """
    texts = (text.encode() for one in sets for text in one)
    sizes = np.fromiter((len(one) for one in sets), np.int64, len(sets))
    hashes = np.fromiter(map(xxhash.xxh32_intdigest, texts), np.uint32, int(sizes.sum()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    hashes ^= hashes >> np.uint32(16)
    starts = np.cumsum(sizes) - sizes
    dice = np.random.RandomState(_SEED)
    factors = dice.randint(0, 1 << 31, size, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = dice.randint(0, 1 << 32, size, dtype=np.uint32)
    least = [np.minimum.reduceat(a * hashes + b, starts) for a, b in zip(factors, offsets, strict=True)]
    return np.stack(least, axis=1)


def _trigrams(text: str) -> frozenset[str]:
    words = _WORDS.findall(text.lower())
    if len(words) < MIN_WORDS:
        return frozenset()
    return frozenset(f"{a} {b} {c}" for a, b, c in zip(words, words[1:], words[2:], strict=False))
