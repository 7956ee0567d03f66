"""Give tests a fresh Hub of their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hub.protocol import Role
from tests.hub.server import HubServer

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WRITE_TOKEN = "hf_write"
READ_TOKEN = "hf_read"
USER = "somebody"
ORG = "lab"
REPO_ID = f"{ORG}/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty Hub, where `WRITE_TOKEN` may write to `USER` and `ORG`.

    The client, here and in any program started, finds it, keeps its cache in `tmp_path` and has no token.
    """
    # Not at the top: every test process loads this module, few need the client.
    from huggingface_hub import constants, hf_api
    from huggingface_hub.utils import close_session

    tokens: dict[str, Role] = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
    with HubServer(tmp_path / "hub", tokens=tokens, owners=(USER, ORG)) as server:
        home, endpoint = tmp_path / "hf-home", server.endpoint
        # The client uploads by Xet wherever `hf_xet` is installed, whatever the server says.
        for name, value in (("HF_HUB_DISABLE_XET", "1"), ("HF_ENDPOINT", endpoint), ("HF_HOME", str(home))):
            monkeypatch.setenv(name, value)
        for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        # The client read its environment when it was imported, which may have been long ago.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(hf_api.api, "endpoint", endpoint)  # what other libraries call
        resolve = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        yield server
    close_session()
    assert server.errors == []


@pytest.fixture
def hub_api(hub: HubServer) -> "HfApi":
    """A client with the right to write."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.endpoint, token=WRITE_TOKEN)


@pytest.fixture
def hub_repo(hub_api: "HfApi") -> str:
    """`REPO_ID` with nothing but its first commit, and a branch `dev` at it."""
    hub_api.create_repo(REPO_ID)
    hub_api.create_branch(REPO_ID, branch="dev")
    return REPO_ID
