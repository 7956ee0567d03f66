"""Find examples that say the same: exactly, or nearly.

Near means a Jaccard similarity of word trigrams at or above a threshold, found with MinHash (Broder 1997) and
locality-sensitive hashing as in `datasketch`, and confirmed on the trigrams themselves.
"""

import hashlib
import re
from collections.abc import Sequence

import xxhash

from train_fn.formats import Example

BANDS, ROWS = 6, 5
"""Of the locality-sensitive hash: two texts of similarity 0.85 meet in some band with probability
1 - (1 - 0.85**5)**6 = 0.97 (0.95: 0.9999); those that meet by chance are told apart by exact comparison."""
MIN_WORDS = 8
"""Shorter texts are greetings and thanks: they repeat as people do, and only exact copies are dropped."""
_WORDS = re.compile(r"\w+")


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
        jaccard: Least similarity of the trigram sets, in (0, 1].
    """
    from datasketch import MinHash, MinHashLSH

    shingles = {i: s for i, e in enumerate(examples) if (s := _trigrams(f"{e.last_message} {e.reply}"))}
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    dropped: set[int] = set()
    hashes = MinHash.generator(
        (list(s) for s in shingles.values()), num_perm=BANDS * ROWS, seed=1, hashfunc=xxhash.xxh32_intdigest
    )
    for i, minhash in zip(shingles, hashes, strict=True):
        mine = shingles[i]
        if any(len(mine & shingles[j]) >= jaccard * len(mine | shingles[j]) for j in index.query(minhash)):
            dropped.add(i)
        else:
            index.insert(i, minhash, check_duplication=False)
    return dropped


def _trigrams(text: str) -> frozenset[bytes]:
    words = _WORDS.findall(text.lower())
    if len(words) < MIN_WORDS:
        return frozenset()
    return frozenset(" ".join(words[i : i + 3]).encode(errors="replace") for i in range(len(words) - 2))
