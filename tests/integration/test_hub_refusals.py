"""Prove by the unmodified client what the loopback Hub refuses, and how it fails on demand."""

import hashlib
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.hub.client import TEXT, WEIGHTS, add, head, sha256, status_of
from tests.hub.fixture import ORG, READ_TOKEN, REPO_ID, USER
from tests.hub.protocol import Refusal
from tests.hub.server import HubServer
from tests.hub.store import Write


def test_a_part_with_wrong_content_is_refused_when_the_parts_are_joined(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    hub.set_part_size(2 * 10**6)
    spoiled = hub.repository(hub_repo).folder / "parts" / sha256(WEIGHTS) / "2"
    hub.before_next("POST /api/complete_multipart/", lambda: spoiled.write_bytes(b"spoiled"))
    with pytest.raises(RuntimeError, match=r"Error while uploading 'model.safetensors'") as error:
        add(hub_api, {"model.safetensors": WEIGHTS})
    assert "Part 2" in str(error.value.__cause__)


def test_a_commit_on_another_parent_is_refused_with_412(hub_api: HfApi, hub_repo: str) -> None:
    parent = head(hub_api)
    made = add(hub_api, {"a.txt": TEXT})
    with pytest.raises(
        HfHubHTTPError, match=r"A commit has happened since. Please refresh and try again."
    ) as error:
        add(hub_api, {"b.txt": TEXT}, parent_commit=parent)
    assert status_of(error) == 412
    assert head(hub_api) == made.oid


def test_a_branch_that_moves_just_before_the_commit_is_not_overwritten(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    parent = head(hub_api)
    hub.before_next("POST .*/commit/dev", lambda: hub.commit_file(hub_repo, "dev", "theirs.txt", b"First.\n"))
    with pytest.raises(HfHubHTTPError, match=r"A commit has happened since"):
        add(hub_api, {"ours.txt": TEXT}, parent_commit=parent)
    assert set(hub_api.list_repo_files(hub_repo, revision="dev")) == {".gitattributes", "theirs.txt"}


def test_git_itself_refuses_to_move_a_branch_that_is_elsewhere(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    parent = head(hub_api)
    made = add(hub_api, {"a.txt": TEXT})
    with pytest.raises(Refusal, match="A commit has happened since"):
        hub.repository(hub_repo).commit("dev", parent, [Write("late.txt", TEXT)], "Too late", USER)
    assert head(hub_api) == made.oid


def test_a_read_token_reads_and_is_forbidden_to_write(hub: HubServer, hub_repo: str) -> None:
    reader = HfApi(endpoint=hub.endpoint, token=READ_TOKEN)
    assert reader.whoami()["auth"]["accessToken"]["role"] == "read"
    assert reader.list_repo_files(hub_repo) == [".gitattributes"]
    reader.auth_check(hub_repo)
    for attempt in (
        lambda: add(reader, {"a.txt": TEXT}),
        lambda: reader.create_branch(hub_repo, branch="other"),
        lambda: reader.create_tag(hub_repo, tag="v1"),
        lambda: reader.create_repo(f"{ORG}/other"),
        lambda: reader.auth_check(hub_repo, write=True),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            attempt()
        assert status_of(error) == 403


def test_a_write_token_is_forbidden_in_a_stranger_s_name(hub: HubServer, hub_api: HfApi) -> None:
    hub.add_repository("stranger/model")
    hub.add_repository("stranger/secret", private=True)
    with pytest.raises(HfHubHTTPError) as error:
        hub_api.create_branch("stranger/model", branch="dev")
    assert status_of(error) == 403
    with pytest.raises(RepositoryNotFoundError):
        hub_api.model_info("stranger/secret")
    with pytest.raises(HfHubHTTPError, match='under the namespace "stranger"'):
        hub_api.create_repo("stranger/new")


def test_without_a_good_token_a_private_repository_is_hidden_and_nothing_is_written(
    hub: HubServer, hub_api: HfApi
) -> None:
    hub_api.create_repo(REPO_ID, private=True)
    assert hub_api.model_info(REPO_ID).private is True
    nobody = HfApi(endpoint=hub.endpoint, token=False)
    for attempt in (lambda: nobody.model_info(REPO_ID), lambda: nobody.create_branch(REPO_ID, branch="dev")):
        with pytest.raises(RepositoryNotFoundError) as hidden:
            attempt()
        assert hidden.value.response.status_code == 401
    wrong = HfApi(endpoint=hub.endpoint, token="hf_wrong")
    for attempt in (
        wrong.whoami,
        lambda: wrong.model_info(REPO_ID),
        lambda: wrong.create_repo(f"{ORG}/other"),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            attempt()
        assert status_of(error) == 401


def test_failures_on_demand_reach_the_caller_as_the_client_s_errors(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    hub.fail_next("POST .*/commit/dev", status=500, message="Something went wrong")
    with pytest.raises(HfHubHTTPError, match="Something went wrong") as error:
        add(hub_api, {"a.txt": TEXT})
    assert status_of(error) == 500
    limits = {"Retry-After": "30", "RateLimit": '"api";r=0;t=30'}
    hub.fail_next("GET /api/whoami-v2", status=429, headers=limits)
    with pytest.raises(HfHubHTTPError) as error:
        hub_api.whoami()
    assert (status_of(error), error.value.response.headers["Retry-After"]) == (429, "30")
    assert hub_api.whoami()["name"] == USER


def test_the_client_waits_out_a_full_service_and_tries_again(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    hub.fail_next("POST .*/preupload/dev", status=429, headers={"Retry-After": "0"})
    add(hub_api, {"a.txt": TEXT})
    assert len(hub.seen("POST .*/preupload/dev")) == 2


def test_an_upload_cut_in_the_middle_resumes_without_what_had_arrived_whole(
    hub: HubServer, hub_api: HfApi, hub_repo: str, tmp_path: Path
) -> None:
    first, second = WEIGHTS, WEIGHTS[::-1]
    files = {"one.safetensors": first, "two.safetensors": second}
    address = f"PUT /storage/{hub_repo}/{sha256(second)}"
    hub.drop_next(address, after_bytes=1_000_000)
    hub.fail_next(address, status=403)  # Ends the client's own second try, a second later.
    with pytest.raises(RuntimeError, match=r"two.safetensors"):
        add(hub_api, files, num_threads=1)
    cut, refused = hub.seen(address)
    assert (cut.bytes_received, cut.whole, refused.whole) == (1_000_000, False, True)
    assert not hub_api.file_exists(hub_repo, "one.safetensors", revision="dev")
    hub.requests.clear()
    add(hub_api, files)
    assert [request.line.split("?")[0] for request in hub.seen("^PUT ")] == [address]
    path = hub_api.hf_hub_download(hub_repo, "two.safetensors", revision="dev", cache_dir=tmp_path)
    assert Path(path).read_bytes() == second


def test_a_server_that_stops_and_comes_back_has_kept_what_it_held(
    hub: HubServer, hub_api: HfApi, hub_repo: str
) -> None:
    made = add(hub_api, {"model.safetensors": WEIGHTS})
    hub.before_next("POST .*/commit/dev", hub.stop)
    with pytest.raises(httpx2.TransportError):
        add(hub_api, {"a.txt": TEXT})
    hub.restart()
    assert head(hub_api) == made.oid
    add(hub_api, {"copy.safetensors": WEIGHTS})
    assert len(hub.seen("^PUT ")) == 1


def test_a_commit_whose_reply_is_lost_is_there(hub: HubServer, hub_api: HfApi, hub_repo: str) -> None:
    hub.lose_reply_next("POST .*/commit/dev")
    with pytest.raises(httpx2.TransportError):
        add(hub_api, {"a.txt": TEXT})
    assert hub_api.file_exists(hub_repo, "a.txt", revision="dev")


def test_content_that_is_not_what_its_hash_says_is_refused(hub_api: HfApi, hub_repo: str) -> None:
    lie = CommitOperationAdd("model.safetensors", WEIGHTS)
    lie.upload_info.sha256 = hashlib.sha256(b"other").digest()
    with pytest.raises(RuntimeError, match=r"model.safetensors") as error:
        hub_api.create_commit(hub_repo, [lie], commit_message="Lie", revision="dev")
    assert f"with SHA-256 {sha256(b'other')}" in str(error.value.__cause__)
    assert not hub_api.file_exists(hub_repo, "model.safetensors", revision="dev")


def test_a_large_file_that_was_never_uploaded_cannot_be_committed(hub_api: HfApi, hub_repo: str) -> None:
    skipped = CommitOperationAdd("model.safetensors", WEIGHTS)
    skipped._upload_mode, skipped._is_uploaded = "lfs", True
    with pytest.raises(HfHubHTTPError, match=r"Offending file: model.safetensors") as error:
        hub_api.create_commit(hub_repo, [skipped], commit_message="Skip", revision="dev")
    assert status_of(error) == 400
