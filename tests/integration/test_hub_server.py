"""Prove by the unmodified client that the loopback Hub keeps and gives out what it is sent."""

import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    RepoFile,
    RepoFolder,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import sha

from tests.hub.client import TEXT, WEIGHTS, add, head, sha256, status_of
from tests.hub.fixture import ORG, USER, WRITE_TOKEN
from tests.hub.server import HubServer


def test_a_commit_comes_back_with_its_files_their_hashes_and_git_s_own_ids(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    parent = head(hub_api)
    made = add(hub_api, {"notes/card.txt": TEXT, "model.safetensors": WEIGHTS}, parent_commit=parent)
    listed = {entry.path: entry for entry in hub_api.list_repo_tree(hub_repo, revision="dev", recursive=True)}
    assert set(listed) == {".gitattributes", "model.safetensors", "notes", "notes/card.txt"}
    assert isinstance(listed["notes"], RepoFolder)
    text, weights = listed["notes/card.txt"], listed["model.safetensors"]
    assert isinstance(text, RepoFile)
    assert isinstance(weights, RepoFile)
    assert (text.blob_id, text.size, text.lfs) == (sha.git_hash(TEXT), len(TEXT), None)
    assert weights.lfs is not None
    assert (weights.lfs.sha256, weights.lfs.size, weights.size) == (
        sha256(WEIGHTS),
        len(WEIGHTS),
        len(WEIGHTS),
    )
    assert made.oid == head(hub_api) == head(hub_api, made.oid)
    assert hub.repository(hub_repo).git("rev-parse", f"{made.oid}^").decode().strip() == parent
    assert head(hub_api, "main") == parent
    assert [
        (entry.title, entry.authors) for entry in hub_api.list_repo_commits(hub_repo, revision="dev")
    ] == [
        ("Add files", [USER]),
        ("initial commit", ["system"]),
    ]


def test_what_was_committed_downloads_bit_by_bit_and_no_token_reaches_the_storage(
    hub: HubServer, hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    add(hub_api, {"notes/card.txt": TEXT, "model.safetensors": WEIGHTS})
    folder = Path(hub_api.snapshot_download(hub_repo, revision="dev", cache_dir=tmp_path / "cache"))
    assert folder.name == head(hub_api)
    assert (folder / "notes/card.txt").read_bytes() == TEXT
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    one = hub_api.hf_hub_download(
        hub_repo, "model.safetensors", revision=head(hub_api), local_dir=tmp_path / "here"
    )
    assert Path(one).read_bytes() == WEIGHTS
    assert len(hub.seen("^PUT /storage/")) == 1
    assert len(hub.seen("^GET /storage/")) == 2
    assert not [request for request in hub.seen(" /storage/") if "authorization" in request.headers]
    assert {request.headers["authorization"] for request in hub.seen(" /api/models/")} == {
        f"Bearer {WRITE_TOKEN}"
    }


def test_model_info_names_size_and_hash_of_every_file(hub_api: HfApi, hub_repo: str) -> None:
    add(hub_api, {"a.txt": TEXT, "b.bin": b"large by name"})
    files = {
        each.rfilename: each
        for each in hub_api.model_info(hub_repo, revision="dev", files_metadata=True).siblings or []
    }
    assert files["a.txt"].blob_id == sha.git_hash(TEXT)
    assert files["b.bin"].lfs is not None
    assert (files["b.bin"].size, files["b.bin"].lfs["sha256"]) == (13, sha256(b"large by name"))
    assert hub_api.list_repo_files(hub_repo) == [".gitattributes"]
    assert [each.path for each in hub_api.get_paths_info(hub_repo, ["a.txt", "nowhere"], revision="dev")] == [
        "a.txt"
    ]


def test_a_file_larger_than_a_part_goes_up_in_parts(
    hub: HubServer, hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    hub.set_part_size(2 * 10**6)
    add(hub_api, {"model.safetensors": WEIGHTS})
    parts = [request.bytes_received for request in hub.seen("^PUT /storage/.*/part/")]
    assert parts == [2_000_000, 2_000_000, 2_000_000, len(WEIGHTS) - 6_000_000]
    path = hub_api.hf_hub_download(hub_repo, "model.safetensors", revision="dev", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS


def test_a_file_on_disk_goes_up_as_well_as_one_in_memory(
    hub: HubServer, hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "up" / "empty.bin").touch()
    hub_api.upload_folder(repo_id=hub_repo, folder_path=tmp_path / "up", revision="dev")
    assert hub_api.file_exists(hub_repo, "empty.bin", revision="dev")
    assert [request.bytes_received for request in hub.seen("^PUT /storage/")] == [len(WEIGHTS)]


def test_a_large_file_that_is_held_is_not_sent_again_and_nothing_new_makes_no_commit(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    made = add(hub_api, {"a.safetensors": WEIGHTS, "card.txt": TEXT})
    assert add(hub_api, {"a.safetensors": WEIGHTS, "card.txt": TEXT}).oid == made.oid
    assert add(hub_api, {"b.safetensors": WEIGHTS}).oid != made.oid
    assert len(hub.seen("^PUT ")) == 1
    assert len(hub.seen("^POST .*/commit/")) == 2


def test_a_large_file_without_a_pattern_gets_one_in_gitattributes(
    hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    big = b" " * (10 * 1024**2 + 1)
    add(hub_api, {"tokenizer.json": big, "small.json": b"{}"})
    large = {
        each.path: each.lfs
        for each in hub_api.list_repo_tree(hub_repo, revision="dev")
        if isinstance(each, RepoFile)
    }
    assert large["tokenizer.json"] is not None
    assert large["small.json"] is None
    attributes = Path(
        hub_api.hf_hub_download(hub_repo, ".gitattributes", revision="dev", cache_dir=tmp_path)
    ).read_text()
    assert attributes.endswith("tokenizer.json filter=lfs diff=lfs merge=lfs -text\n")


def test_files_and_folders_are_deleted_and_copied_in_one_commit(
    hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    add(
        hub_api,
        {
            "old/a.txt": TEXT,
            "old/b.txt": TEXT,
            "gone.txt": TEXT,
            "card.txt": TEXT,
            "model.safetensors": WEIGHTS,
        },
    )
    operations = [
        CommitOperationDelete("old/"),
        CommitOperationDelete("gone.txt"),
        CommitOperationCopy("card.txt", "copy/card.txt"),
        CommitOperationCopy("model.safetensors", "copy/model.safetensors"),
    ]
    hub_api.create_commit(hub_repo, operations, commit_message="Rearrange", revision="dev")
    kept = {"card.txt", "copy/card.txt", "copy/model.safetensors", "model.safetensors"}
    assert set(hub_api.list_repo_files(hub_repo, revision="dev")) == kept | {".gitattributes"}
    for path, content in (("copy/card.txt", TEXT), ("copy/model.safetensors", WEIGHTS)):
        assert (
            Path(hub_api.hf_hub_download(hub_repo, path, revision="dev", cache_dir=tmp_path)).read_bytes()
            == content
        )


def test_deleting_what_is_not_there_changes_nothing(hub_api: HfApi, hub_repo: str) -> None:
    before = head(hub_api)
    operations = [CommitOperationAdd("new.txt", TEXT), CommitOperationDelete("nowhere.txt")]
    with pytest.raises(RemoteEntryNotFoundError, match=r"A file with this name doesn't exist: nowhere.txt"):
        hub_api.create_commit(hub_repo, operations, commit_message="Try", revision="dev")
    assert head(hub_api) == before


def test_branches_and_tags_are_made_once_and_deleted(hub_api: HfApi, hub_repo: str) -> None:
    made = add(hub_api, {"a.txt": TEXT})
    hub_api.create_tag(hub_repo, tag="v1", revision="dev", tag_message="First")
    hub_api.create_tag(hub_repo, tag="exp4/best", revision=made.oid)
    for again in (
        lambda: hub_api.create_tag(hub_repo, tag="v1"),
        lambda: hub_api.create_branch(hub_repo, branch="dev"),
    ):
        with pytest.raises(HfHubHTTPError, match="Reference already exists") as error:
            again()
        assert status_of(error) == 409
    hub_api.create_branch(hub_repo, branch="dev", exist_ok=True)
    hub_api.create_branch(hub_repo, branch="run/exp4", revision="v1")
    named = hub_api.list_repo_refs(hub_repo)
    assert {each.name: each.target_commit for each in named.tags} == {"v1": made.oid, "exp4/best": made.oid}
    assert {each.name for each in named.branches} == {"main", "dev", "run/exp4"}
    assert head(hub_api, "exp4/best") == head(hub_api, "run/exp4") == made.oid
    hub_api.delete_tag(hub_repo, tag="v1")
    hub_api.delete_branch(hub_repo, branch="run/exp4")
    with pytest.raises(RevisionNotFoundError):
        head(hub_api, "v1")
    with pytest.raises(HfHubHTTPError, match="cannot be deleted"):
        hub_api.delete_branch(hub_repo, branch="main")


def test_what_is_not_there_raises_the_client_s_own_errors(
    hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    with pytest.raises(RepositoryNotFoundError):
        hub_api.repo_info(f"{ORG}/nothing")
    with pytest.raises(RevisionNotFoundError):
        add(hub_api, {"a.txt": TEXT}, revision="nowhere")
    with pytest.raises(RevisionNotFoundError):
        head(hub_api, "0" * 40)
    with pytest.raises(EntryNotFoundError):
        hub_api.hf_hub_download(hub_repo, "nowhere.txt", cache_dir=tmp_path)
    with pytest.raises(EntryNotFoundError):
        list(hub_api.list_repo_tree(hub_repo, "nowhere"))
    with pytest.raises(HfHubHTTPError) as error:
        hub_api.create_repo(hub_repo)
    assert status_of(error) == 409
    assert hub_api.create_repo(hub_repo, exist_ok=True).repo_id == hub_repo


def test_a_model_card_with_broken_metadata_is_refused_before_anything_is_sent(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    add(hub_api, {"README.md": b"---\nlicense: mit\n---\n# A model\n"})
    with pytest.raises(ValueError, match=r"Invalid metadata in README.md"):
        add(hub_api, {"README.md": b"---\nlicense: [\n---\n"})
    assert len(hub.seen("POST .*/commit/")) == 1


def test_git_clones_a_branch_and_pushes_only_with_a_token(
    hub: HubServer, hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    made = add(hub_api, {"card.txt": TEXT, "model.safetensors": WEIGHTS})

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@localhost", "-c", "credential.helper="]
        env = {"PATH": os.environ["PATH"], "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null"}
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True
        )

    assert git("clone", "--branch", "dev", f"{hub.endpoint}/{hub_repo}", "clone").returncode == 0
    assert git("-C", "clone", "rev-parse", "HEAD").stdout.strip() == made.oid
    assert (tmp_path / "clone/card.txt").read_bytes() == TEXT
    assert (
        f"oid sha256:{sha256(WEIGHTS)}\nsize {len(WEIGHTS)}\n"
        in (tmp_path / "clone/model.safetensors").read_text()
    )
    git("-C", "clone", "commit", "--allow-empty", "--message", "Pushed")
    assert git("-C", "clone", "push").returncode != 0
    signed = f"{hub.endpoint.replace('//', f'//{USER}:{WRITE_TOKEN}@')}/{hub_repo}"
    assert git("-C", "clone", "push", signed, "dev").returncode == 0
    assert hub_api.list_repo_commits(hub_repo, revision="dev")[0].title == "Pushed"
