import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from analysis.held_out import read_held_out
from analysis.records import SearchRecord
from train_fn.config import DataConfig
from train_fn.errors import InputError
from train_fn.prepare import prepare
from train_fn.prepared import Prepared
from train_fn.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def prepared(own_dialogues: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    data = DataConfig(sources=(str(own_dialogues),), eval_fraction=0.1)
    storage = tmp_path_factory.mktemp("storage")
    return prepare(data, lambda: load_tokenizer("bundled"), "bundled", storage / "data")


def test_the_held_out_examples_come_in_their_order_and_as_many_trained_ones(
    search: SearchRecord, prepared: Prepared
) -> None:
    storage, record = prepared.folder.parents[1], replace(search, data_key=prepared.key)
    held = read_held_out(record, storage)
    assert [pair.id for pair in held.pairs] == list(prepared.eval.ids)
    assert len(held.trained) == len(held.pairs) > 2
    assert {pair.id for pair in held.trained} < set(prepared.train.ids)
    end = load_tokenizer("bundled").eos_token_id
    for i, pair in enumerate(held.pairs):
        assert np.array_equal(np.concatenate([pair.prompt, pair.reply]), prepared.eval.tokens(i))
        assert len(pair.prompt) == prepared.eval.prompt_lengths[i]
        assert pair.reply[-1] == end
    assert [pair.conversation for pair in held.pairs] == prepared.eval.conversations.tolist()
    again, other = read_held_out(record, storage), read_held_out(record, storage, seed=1)
    assert [pair.id for pair in again.trained] == [pair.id for pair in held.trained]
    assert [pair.id for pair in other.trained] != [pair.id for pair in held.trained]


def test_data_from_before_has_a_conversation_for_each_example(
    search: SearchRecord, prepared: Prepared, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / prepared.key
    shutil.copytree(prepared.folder, folder)
    for name in ("train", "eval"):
        table = pa.ipc.open_file(folder / f"{name}.arrow").read_all().drop_columns("conversation")
        with (
            pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as file,
        ):
            file.write_table(table)
    held = read_held_out(replace(search, data_key=prepared.key), tmp_path)
    assert [pair.conversation for pair in held.pairs] == list(range(len(held.pairs)))


def test_the_sample_is_not_what_a_trial_of_the_same_seed_saw_first(
    search: SearchRecord, prepared: Prepared
) -> None:
    """`train_fn.batches` draws its first epoch from the numbers of [seed, 0], which are those of the seed."""
    held = read_held_out(replace(search, data_key=prepared.key), prepared.folder.parents[1])
    first = np.random.default_rng([0, 0]).permutation(len(prepared.train))[: len(held.trained)]
    seen = {prepared.train.ids[i] for i in first}
    assert len(seen & {pair.id for pair in held.trained}) < len(seen) / 2


@pytest.mark.parametrize("lost", ["everything", "eval.arrow", "a part"])
def test_data_that_is_gone_is_one_line(
    search: SearchRecord, prepared: Prepared, tmp_path: Path, lost: str
) -> None:
    folder = tmp_path / "data" / prepared.key
    if lost != "everything":
        folder.mkdir(parents=True)
        for file in prepared.folder.iterdir():
            content = file.read_bytes()
            if file.name != "eval.arrow":
                (folder / file.name).write_bytes(content)
            elif lost == "a part":
                (folder / file.name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"the prepared data of exp9 cannot be read from .*; copy it back"):
        read_held_out(replace(search, data_key=prepared.key), tmp_path)
