"""Promotion for real: weights that were trained, and the unmodified Hub client against a Hub on loopback."""

import re
import threading
from pathlib import Path

import pytest

from analysis import promote
from analysis.promotion import RECORD_NAME, read_record, sha256_of
from tests.dialogues import write_real_dialogues
from tests.hub.fixture import READ_TOKEN, WRITE_TOKEN
from tests.hub.server import HubServer
from tests.promotable import make_search
from train_fn.bundled_path import bundled_folder
from train_fn.errors import InputError

REPO, BRANCH = "lab/talker", "dev"
TO_DEV = ("--repo", REPO, "--branch", BRANCH)
ANYHOW = ("--trial", "1", "--set", "promotion.confirming_seeds=0", "--set", "promotion.min_ended=0")
"""The worse trial, which no other seed confirmed and which never stops talking."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("promotable")
    make_search(folder, write_real_dialogues(folder / "mine.jsonl"))
    return folder


@pytest.fixture
def hub_with_token(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    return hub


@pytest.fixture(autouse=True)
def _no_client_of_an_earlier_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have transformers make its client anew: it keeps the first one, with the address of that test's Hub."""
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)


def run(storage: Path, *words: str) -> int:
    return promote.main(["exp4", "--storage", str(storage), "--no-mlflow", *words])


def refs(hub: HubServer) -> dict[str, str]:
    return dict(hub.repository(REPO).refs("heads"))


def writes(hub: HubServer) -> list[str]:
    reading = ("GET ", "HEAD ")
    return [request.line for request in hub.requests if not request.line.startswith(reading)]


def test_a_dry_run_shows_the_gate_and_the_folder_and_changes_nothing(
    storage: Path, hub_with_token: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(storage, *TO_DEV) == 0
    out = capsys.readouterr().out
    assert "exp4-0000 to lab/talker@dev (dry run: nothing is sent without --push)" in out
    assert "The gate is open" in out
    assert re.search(r"confirmed by other seeds +2 of 2 below", out)
    assert "model.safetensors" in out
    assert writes(hub_with_token) == []


def test_a_push_is_one_commit_on_a_new_branch_with_a_tag_and_loads_for_anybody(
    storage: Path, hub_with_token: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from transformers import AutoModelForCausalLM, GenerationConfig

    assert run(storage, *TO_DEV, "--push") == 0
    out = capsys.readouterr().out
    assert "files listed back, their hashes agree" in out
    api = HfApi()
    assert api.repo_info(REPO).private
    commits = api.list_repo_commits(REPO, revision=BRANCH)
    assert commits[0].title == "Promote exp4-0000"
    assert len(commits) == len(api.list_repo_commits(REPO)) + 1, "one commit, none on the default branch"
    (tag,) = api.list_repo_refs(REPO).tags
    assert (tag.name, tag.target_commit) == ("exp4-0000", commits[0].commit_id)
    folder = Path(snapshot_download(REPO, revision=BRANCH))
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 1e6
    assert GenerationConfig.from_pretrained(REPO, revision=BRANCH).temperature == 0.85
    record = read_record((folder / RECORD_NAME).read_text())
    assert record is not None
    assert record.weights == {"model.safetensors": sha256_of(folder / "model.safetensors")}
    card = (folder / "README.md").read_text()
    assert 'revision="dev"' in card
    assert str(storage) not in card
    assert "mine.jsonl" in card

    sent = len(hub_with_token.seen("PUT"))
    assert run(storage, *TO_DEV, "--push") == 0
    assert "holds these weights already" in capsys.readouterr().out
    assert len(api.list_repo_commits(REPO, revision=BRANCH)) == len(commits)
    assert len(hub_with_token.seen("PUT")) == sent


def test_a_better_trial_replaces_a_worse_one_and_rolling_back_restores_it(
    storage: Path, hub_with_token: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import HfApi

    from analysis.hub import Target, list_files

    target = Target(REPO, BRANCH)
    assert run(storage, *TO_DEV, *ANYHOW, "--push") == 0
    first = refs(hub_with_token)[BRANCH]
    assert run(storage, *TO_DEV, "--push") == 0
    assert f"eval NLL below {target}" in capsys.readouterr().out
    second = refs(hub_with_token)[BRANCH]

    assert run(storage, *TO_DEV, *ANYHOW, "--push") == promote.EXIT_GATE, "a worse one does not come back"
    assert refs(hub_with_token)[BRANCH] == second

    assert run(storage, *TO_DEV, "--rollback") == 0
    assert refs(hub_with_token)[BRANCH] == second, "only said"
    assert run(storage, *TO_DEV, "--rollback", "--push") == 0
    third = refs(hub_with_token)[BRANCH]
    assert list_files(target, third) == list_files(target, first)
    assert list_files(target, third) != list_files(target, second)
    assert [c.title for c in HfApi().list_repo_commits(REPO, revision=BRANCH)][:3] == [
        f"Roll back to {first[:12]}",
        "Promote exp4-0000",
        "Promote exp4-0001",
    ]
    with pytest.raises(InputError, match="holds exp4-0001, its first promotion; there is none to go back to"):
        run(storage, *TO_DEV, "--rollback", "--push")
    assert refs(hub_with_token)[BRANCH] == third


def test_a_closed_gate_exits_with_3_and_names_what_failed(
    storage: Path, hub_with_token: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--set", "promotion.min_eval_examples=100000", "--set", "promotion.max_length_ratio=0.01")
    assert run(storage, *TO_DEV, "--push", *asked) == promote.EXIT_GATE
    out = capsys.readouterr().out
    assert "The gate is closed: 2 of" in out
    assert "held-out examples" in out
    assert "FAILED" in out
    assert writes(hub_with_token) == []


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (None, "there is no token for the Hub"),
        ("hf_wrong", r"does not accept the token for lab/talker \(401\)"),
        (READ_TOKEN, r"may not write to lab/talker \(403\)"),
    ],
)
def test_a_token_without_the_right_is_refused_and_nothing_is_written(
    storage: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None, told: str
) -> None:
    hub.add_repository(REPO)
    before = refs(hub)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=told):
        run(storage, *TO_DEV, "--push")
    assert refs(hub) == before
    assert not hub.seen("commit|PUT")


def test_a_branch_that_moves_meanwhile_is_left_to_whoever_moved_it(
    storage: Path, hub_with_token: HubServer
) -> None:
    assert run(storage, *TO_DEV, *ANYHOW, "--push") == 0
    theirs: list[str] = []

    def move() -> None:
        theirs.append(hub_with_token.commit_file(REPO, BRANCH, "notes.txt", b"mine"))

    hub_with_token.before_next("POST .*/commit/", move)
    with pytest.raises(InputError, match=r"lab/talker@dev moved meanwhile \(412\)"):
        run(storage, *TO_DEV, "--push")
    assert refs(hub_with_token)[BRANCH] == theirs[0]
    assert set(hub_with_token.repository(REPO).refs("tags")) == {"exp4-0001"}


def test_an_upload_cut_off_leaves_no_branch_and_the_next_try_sends_only_the_rest(
    storage: Path, hub_with_token: HubServer
) -> None:
    small = ("--set", "promotion.max_shard_gb=0.0015", "--set", "promotion.dtype=fp16")

    def cut() -> None:
        hub_with_token.stop()
        threading.Timer(0.5, hub_with_token.restart).start()

    hub_with_token.before_next("POST .*/commit/", cut)
    with pytest.raises(InputError, match=r"the Hub at http://127.* does not answer \(\w+\)"):
        run(storage, *TO_DEV, "--push", *small)
    assert BRANCH not in refs(hub_with_token)
    uploaded = len(hub_with_token.seen("PUT"))
    assert uploaded >= 3
    assert run(storage, *TO_DEV, "--push", *small) == 0
    assert len(hub_with_token.seen("PUT")) - uploaded <= 1, "at most the picture of a card written anew"
    assert "dev" in refs(hub_with_token)


def test_a_lost_answer_is_looked_up_and_a_busy_hub_leaves_the_branch(
    storage: Path, hub_with_token: HubServer
) -> None:
    hub_with_token.lose_reply_next("POST .*/commit/")
    assert run(storage, *TO_DEV, *ANYHOW, "--push") == 0, "the commit had arrived"
    first = refs(hub_with_token)[BRANCH]
    hub_with_token.fail_next("POST .*/commit/", status=500, times=10)
    with pytest.raises(InputError, match=r"the Hub is busy \(500\); nothing was changed on lab/talker@dev"):
        run(storage, *TO_DEV, "--push")
    assert refs(hub_with_token)[BRANCH] == first


def test_what_stopped_between_commit_and_tag_is_finished_by_the_same_command(
    storage: Path, hub_with_token: HubServer
) -> None:
    hub_with_token.fail_next("POST .*/tag/", status=403)
    with pytest.raises(InputError, match=r"\(403\).*; commit \w+ is on lab/talker@dev already"):
        run(storage, *TO_DEV, "--push")
    head = refs(hub_with_token)[BRANCH]
    assert run(storage, *TO_DEV, "--push") == 0
    assert refs(hub_with_token)[BRANCH] == head
    assert hub_with_token.repository(REPO).refs("tags") == {"exp4-0000": head}


def test_a_tag_that_names_something_else_is_refused_before_anything_is_sent(
    storage: Path, hub_with_token: HubServer
) -> None:
    from huggingface_hub import HfApi

    hub_with_token.add_repository(REPO)
    HfApi().create_tag(REPO, tag="exp4-0000")
    with pytest.raises(InputError, match=r"has the tag exp4-0000 already .* give another name with --tag"):
        run(storage, *TO_DEV, "--push")
    assert BRANCH not in refs(hub_with_token)
    assert run(storage, *TO_DEV, "--push", "--tag", "second") == 0


def test_the_token_stands_in_no_file_and_no_output(
    storage: Path, hub_with_token: HubServer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(storage, *TO_DEV, "--push") == 0
    out, err = capfd.readouterr()
    assert WRITE_TOKEN not in out + err
    files = [file for file in storage.rglob("*") if file.is_file()]
    assert not [file for file in files if WRITE_TOKEN.encode() in file.read_bytes()]
    other_origin = [r for r in hub_with_token.seen("PUT") if "authorization" in r.headers]
    assert not other_origin, "the storage of large files gets no token"


def test_an_export_is_the_same_folder_without_a_hub(
    storage: Path, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    to = tmp_path / "a folder"
    assert run(storage, "--to", to.as_uri()) == 0
    assert AutoModelForCausalLM.from_pretrained(to).num_parameters() > 1e6
    assert AutoTokenizer.from_pretrained(to).eos_token is not None
    assert hub.requests == []
    with pytest.raises(InputError, match="is there already"):
        run(storage, "--to", to.as_uri())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--repo", REPO), "needs --repo owner/name and --branch"),
        (("--repo", "talker", "--branch", "dev"), "is no name of a repository"),
        (("--to", "/somewhere"), "write --to file:///path"),
        (("--to", "file:///somewhere", "--push"), "leave out --repo"),
        ((*TO_DEV, "--tag", "v1 final"), "is no name of a tag"),
        ((*TO_DEV, "--trial", "77"), "--trial 77 is not there; finished are"),
        ((*TO_DEV, "--rollback"), "holds no promotion; there is nothing to roll back"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    storage: Path, hub: HubServer, words: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(storage, *words)


def test_a_lora_adapter_alone_is_sent_with_its_base_on_the_hub(
    hub_with_token: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import HfApi, snapshot_download

    base = "lab/base"
    HfApi().create_repo(base)
    HfApi().upload_folder(repo_id=base, folder_path=bundled_folder())
    lora = (f"model.path={base}", "model.lora.rank=4", "run.max_tokens=4000", "run.window_tokens=2000")
    make_search(tmp_path, write_real_dialogues(tmp_path / "mine.jsonl", 120), *lora, seeds=0)
    asked = ["promotion.adapter=true", "promotion.confirming_seeds=0", "promotion.min_eval_examples=2"]
    asked += ["promotion.min_ended=0", "promotion.min_lead_stderrs=0", "promotion.max_length_ratio=100"]
    settings = [part for one in asked for part in ("--set", one)]
    assert run(tmp_path, *TO_DEV, "--push", *settings) == 0, capsys.readouterr().out
    assert re.search(r"files give the trial's eval NLL +.* passed", capsys.readouterr().out)
    folder = Path(snapshot_download(REPO, revision=BRANCH))
    assert (folder / "adapter_model.safetensors").stat().st_size < 1e6
    assert not (folder / "model.safetensors").exists()
    card = (folder / "README.md").read_text()
    assert f"base_model: {base}\nbase_model_relation: adapter" in card
