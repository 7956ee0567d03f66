from pathlib import Path

import pytest

from analysis.hub import Target, check_target, look
from analysis.hub_push import send
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


@pytest.mark.parametrize("branch", ["", "-x", "a b", "a..b", "a/", "x.lock", "a//b", "~1", "a:b", "a@{1}"])
def test_what_is_no_branch_is_refused(branch: str) -> None:
    with pytest.raises(InputError, match="is no name of a branch"):
        check_target("org/name", branch)


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
