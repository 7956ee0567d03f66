import bz2
import gzip
import json
import lzma
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec.config
import pytest

from train_fn import sources
from train_fn.config import DataConfig
from train_fn.errors import InputError
from train_fn.formats import Conversation

ROW = {"input": "hi", "output": "hello"}


def read(*addresses, **settings):
    return list(sources.read(DataConfig(sources=tuple(map(str, addresses)), **settings)))


def write(path, *rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_plain_gzip_and_fsspec_give_the_same_rows(tmp_path):
    plain = write(tmp_path / "a.jsonl", ROW, "\n", ROW)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for address in (plain, packed, f"file://{plain}", f"file://{packed}"):
        rows = read(address)
        assert [row.turns[1].text for row in rows] == ["hello", "hello"], address
        assert rows[1].place.endswith(":3"), "an empty line counts"


@pytest.mark.parametrize(
    "line",
    [
        "{not json\n",
        '{"input": "hi"}\n',
        "[1, 2]\n",
        '"text"\n',
        '{"input": "a", "output": "b"\n',
        "\xff\n",
        r'{"input": "a", "output": "half of \ud83d"}' + "\n",
    ],
)
def test_a_broken_line_stops_with_file_and_line_or_is_counted(tmp_path, line):
    file = tmp_path / "a.jsonl"
    file.write_bytes(json.dumps(ROW).encode() + b"\n" + line.encode("latin-1") + json.dumps(ROW).encode())
    with pytest.raises(InputError, match=r"a\.jsonl:2 ") as caught:
        read(file)
    assert "\n" not in str(caught.value)
    rows = read(file, skip_broken_lines=True)
    assert [isinstance(row, Conversation) for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    "address",
    [
        "missing.jsonl",
        "bundled:nothing",
        "nosuch://bucket/a.jsonl",
        "file:///no/such.jsonl",
        "folder",
        "empty",
    ],
)
def test_a_source_that_cannot_be_read_is_named_in_one_line(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match=r"data\.sources") as caught:
        read(address)
    assert address.split(":")[-1] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps([ROW, ROW]).encode(), "a JSON array; .*jq"),
        (json.dumps([ROW, ROW], indent=1).encode(), "a JSON array; .*jq"),
        (json.dumps(ROW, indent=1).encode(), "JSON over several lines; .*jq"),
        (f"{json.dumps(ROW)}\n".encode("utf-16"), "UTF-16; .*iconv"),
        (f"{json.dumps(ROW)}\n".encode("utf-16-le"), "UTF-16; .*iconv"),
        (b'"prompt","generation"\n"hi","hello"\n', "CSV; .*JSON object"),
    ],
)
def test_a_file_of_another_form_is_called_by_its_name(tmp_path, content, said):
    file = tmp_path / "mine.jsonl"
    file.write_bytes(content)
    for skip in (False, True):
        with pytest.raises(InputError, match=rf"mine\.jsonl' looks like {said}") as caught:
            read(file, skip_broken_lines=skip)
        assert "skip" not in str(caught.value)


@pytest.mark.parametrize(
    "first",
    [
        "# exported, by me",
        "name,reply",
        'mpt": "hi", "output": "hello"}',
        '\ufeff{"prompt": "hi", "response": "hello"}',
        '"a, b"',
        '["hi", "hello"]',
        "Hello, how are you?",
    ],
)
def test_one_odd_line_before_sound_ones_is_told_by_its_number(tmp_path, first):
    file = write(tmp_path / "a.jsonl", f"{first}\n", ROW)
    with pytest.raises(InputError, match=r"a\.jsonl:1 .*skip_broken_lines"):
        read(file)
    assert len(read(file, skip_broken_lines=True)) == 2


@pytest.mark.parametrize(("first", "said"), [(b"\x1f\x8b\x08", "gzip"), (b"PAR1", "Parquet")])
def test_an_archive_under_another_name_is_called_that(tmp_path, first, said):
    (tmp_path / "a.jsonl").write_bytes(first + b" and more")
    with pytest.raises(InputError, match=f"looks like {said}; "):
        read(tmp_path / "a.jsonl")


def test_a_first_line_of_another_form_may_be_skipped(tmp_path):
    file = write(tmp_path / "a.jsonl", "[1, 2]\n", ROW)
    assert len(read(file, skip_broken_lines=True)) == 2


@pytest.mark.parametrize("address", ["missing.jsonl", "bundled:nothing", "file:///no/such.jsonl", "folder"])
def test_a_source_that_is_not_there_is_refused_before_anything_is_read(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as looked_at:
        sources.check_source(address)
    with pytest.raises(InputError) as hashed:
        sources.fingerprint(address, "train", tmp_path)
    assert str(looked_at.value) == str(hashed.value)


def test_a_source_elsewhere_is_not_asked_for(tmp_path):
    for address in ("hub:owner/name", "s3://bucket/a.jsonl", "bundled:chitchat", write(tmp_path / "a", ROW)):
        sources.check_source(str(address))
    os.mkfifo(tmp_path / "pipe")
    sources.check_source(str(tmp_path / "pipe"))


def test_a_torn_gzip_file_is_an_input_error(tmp_path):
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(ROW).encode() * 3000)[:-20])
    with pytest.raises(InputError, match=r"a\.jsonl\.gz' cannot be read \(it is truncated\); copy"):
        read(packed)


@pytest.mark.parametrize("kind", ["xz", "zip", "bz2"])
def test_a_damaged_archive_is_an_input_error(tmp_path, kind):
    rows = "".join(json.dumps({**ROW, "input": f"hi {n * n}"}) + "\n" for n in range(6000)).encode()
    packed = tmp_path / f"a.jsonl.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("a.jsonl", rows)
    else:
        packed.write_bytes({"xz": lzma, "bz2": bz2}[kind].compress(rows))
    content = bytearray(packed.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(byte ^ 1 for byte in content[middle : middle + 50])
    packed.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.jsonl\.{kind}"):
        read(packed)


@pytest.mark.parametrize("files", [[], None])
def test_an_archive_that_is_empty_or_none_is_an_input_error(tmp_path, files):
    packed = tmp_path / "a.jsonl.zip"
    if files is None:
        packed.write_text("this is no archive")
    else:
        zipfile.ZipFile(packed, "w").close()
    with pytest.raises(InputError, match=r"data\.sources: .*a\.jsonl\.zip' cannot be read") as caught:
        read(packed)
    assert "\n" not in str(caught.value)


def test_no_gzip_file_under_its_name_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"a\.jsonl\.gz"):
        read(write(tmp_path / "a.jsonl.gz", ROW))


def test_the_fingerprint_follows_the_content(tmp_path):
    file = write(tmp_path / "a.jsonl", ROW)
    first = sources.fingerprint(str(file), "train", tmp_path / "memo")
    other = write(tmp_path / "b.jsonl", ROW)
    assert sources.fingerprint(str(other), "train", tmp_path / "memo") == first
    before = file.stat()
    write(file, {"input": "hi", "output": "hellO"})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    assert sources.fingerprint(str(file), "train", tmp_path / "memo") != first


def test_bundled_chats_alternate_speakers_and_carry_text():
    rows = read("bundled:chitchat")
    assert len(rows) == 7168
    for row in rows[:50]:
        speakers = [turn.speaker for turn in row.turns]
        assert speakers == ["user", "bot"] * (len(speakers) // 2) + ["user"] * (len(speakers) % 2)
    assert len({row.place for row in rows}) == len(rows)


def test_bundled_dirt_is_whole_sentences_in_other_languages():
    rows = read("bundled:chatterbot")
    assert not any("english" in row.place for row in rows)
    texts = [turn.text for row in rows for turn in row.turns if turn.text.strip()]
    single = sum(len(text.strip()) == 1 for text in texts)
    assert single < 0.01 * len(texts), "an entry that is a text was read letter by letter"


def test_a_hub_data_set_is_read_by_name(tmp_path, monkeypatch):
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    write(folder / "train.jsonl", ROW, {**ROW, "reward": 0})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    first, second = read("hub:owner/name")
    assert first.turns[1].text == "hello"
    assert second is None
    before = sources.fingerprint("hub:owner/name", "train", tmp_path)
    write(folder / "train.jsonl", {**ROW, "output": "another"})
    assert sources.fingerprint("hub:owner/name", "train", tmp_path) != before


def test_a_large_file_is_hashed_once_and_again_when_it_changed(tmp_path, monkeypatch):
    file = write(tmp_path / "a.jsonl", ROW)
    os.utime(file, (1e9, 1e9))
    first = sources.fingerprint(str(file), "train", tmp_path / "memo")
    with monkeypatch.context() as patch:
        patch.setattr(sources.hashlib, "file_digest", None)
        assert sources.fingerprint(str(file), "train", tmp_path / "memo") == first
    write(file, {**ROW, "output": "HELLO"})
    assert sources.fingerprint(str(file), "train", tmp_path / "memo") != first


class Guarded(BaseHTTPRequestHandler):
    """Gives one row to who knows the word."""

    def do_GET(self):
        knows = self.headers.get("Authorization") == "Bearer word"
        body = f"{json.dumps(ROW)}\n".encode() if knows else b""
        self.send_response(200 if knows else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        """Say nothing."""


def test_credentials_of_an_address_come_from_the_environment(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/mine.jsonl"
        with pytest.raises(InputError, match="cannot be read"):
            read(address)
        found = {}
        said = json.dumps({"headers": {"Authorization": "Bearer word"}})
        fsspec.config.set_conf_env(found, {"FSSPEC_HTTPS": said})  # what fsspec does when it is imported
        monkeypatch.setattr(fsspec.config, "conf", found)
        (row,) = read(address)
        server.shutdown()
    assert row.turns[1].text == "hello"


def test_a_server_that_nobody_reaches_is_said_to_be_none():
    with pytest.raises(InputError, match=r"cannot be read \(Cannot connect to host 127\.0\.0\.1:1 "):
        read("http://127.0.0.1:1/x.jsonl")
