import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.hub import Target, check_tag_name, check_target, look
from analysis.hub_push import check_restored, check_sent, send, set_tag
from analysis.promotion import PromotionRecord, weight_hashes, write_record
from tests.hub.fixture import WRITE_TOKEN
from tests.hub.server import HubServer
from train_fn.errors import InputError

TARGET = Target("lab/talker", "dev")


def package(folder: Path, weights: bytes = b"weights " * 99) -> Path:
    """A folder as it is sent; its files of weights are no model."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    record = PromotionRecord("exp4-0007", 1.0, 2.0, "key", "abc", None, weight_hashes(folder), None)
    write_record(record, folder)
    return folder


def test_a_target_is_written_as_repository_at_branch() -> None:
    assert str(check_target("org/name", "team/dev-2")) == "org/name@team/dev-2"
    assert check_target("org/name", "main") == Target("org/name", "main")


@pytest.mark.parametrize(
    "repo", ["name", "a/b/c", "org/na me", "org/--x", "/name", "org/", "https://hub/org/name"]
)
def test_what_is_no_repository_is_refused(repo: str) -> None:
    with pytest.raises(InputError, match="is no name of a repository; write --repo owner/name"):
        check_target(repo, "dev")


@pytest.mark.parametrize(
    "branch", ["", "-x", "a b", "a..b", "a/", "x.lock", "a//b", "~1", "a:b", "a@{1}", "a/.b", "x.lock/y"]
)
def test_what_is_no_branch_is_refused(branch: str) -> None:
    with pytest.raises(InputError, match="is no name of a branch"):
        check_target("org/name", branch)


@pytest.mark.parametrize("tag", ["", "v1 final", "bad..tag", "a/.b", "x.lock/y"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(
        InputError, match=r"--tag '.*' is no name of a tag; write for example --tag exp4-best"
    ):
        check_tag_name(tag)
    check_tag_name("exp4-0007")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["a", ".", "..", "/", ".lock", "-", "_"]), min_size=1, max_size=6).map("".join)
)
def test_git_takes_every_name_that_is_taken_here(name: str) -> None:
    try:
        check_tag_name(name)
    except InputError:
        return
    subprocess.run(["git", "check-ref-format", f"refs/tags/{name}"], check=True)
    subprocess.run(["git", "check-ref-format", "--branch", name], check=True, capture_output=True)


def test_what_fails_behind_the_commit_says_that_it_is_there(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    folder = package(tmp_path / "ours")
    hub.fail_next("POST .*/commit/", status=400)
    with pytest.raises(InputError, match=r"the Hub refuses .*; nothing was changed$"):
        send(look(TARGET), folder, "Promote exp4-0007")
    commit = send(look(TARGET), folder, "Promote exp4-0007")
    there = rf"; commit {commit[:12]} is on lab/talker@dev already: run the same command again$"
    for status in (400, 401, 403):
        hub.fail_next("POST .*/tag/", status=status)
        with pytest.raises(InputError, match=rf"\({status}\).*{there}"):
            set_tag(look(TARGET), "exp4-0007", commit)
    hub.fail_next("GET .*/tree/", status=400)
    with pytest.raises(InputError, match=rf"\(400\).*{there}"):
        check_sent(TARGET, commit, folder)
    hub.fail_next("GET .*/tree/", status=400)
    with pytest.raises(InputError, match=rf"commit {commit[:12]} gave .* do not roll back once more$"):
        check_restored(TARGET, commit, "0" * 40)
    hub.stop()
    with pytest.raises(InputError, match=rf"does not answer.*{there}"):
        check_sent(TARGET, commit, folder)


def test_a_branch_that_was_changed_by_hand_holds_the_promotion_no_more(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    ours, api = package(tmp_path / "ours"), HfApi()

    def upload(content: bytes, name: str) -> None:
        api.upload_file(
            path_or_fileobj=content, path_in_repo=name, repo_id=TARGET.repo, revision=TARGET.branch
        )

    send(look(TARGET), ours, "Promote exp4-0007")
    assert look(TARGET).holds(ours)
    assert not look(TARGET).holds(package(tmp_path / "other", b"other weights " * 99))
    upload(b"a better card", "README.md")
    assert look(TARGET).holds(ours), "the weights are still the same"
    upload(b"changed by hand " * 99, "model.safetensors")
    assert not look(TARGET).holds(ours)
    send(look(TARGET), ours, "Promote exp4-0007")
    assert look(TARGET).holds(ours)
    upload(b"other weights", "old/pytorch_model.bin")
    assert not look(TARGET).holds(ours), "another model lies beside it"
    send(look(TARGET), ours, "Promote exp4-0007")
    api.delete_file("model.safetensors", TARGET.repo, revision=TARGET.branch)
    assert not look(TARGET).holds(ours)
