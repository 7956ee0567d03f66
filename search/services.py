"""Ask the services beside the cluster: the tracking server, and the Hugging Face Hub."""

import os

from search import tracking_uri
from search.checkup import Check
from train_fn.address import bare, without_secrets

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def tracking_check(uri: str) -> Check:
    """Ask the tracking server, or the database, whether it answers. Makes nothing."""
    shown = bare(uri)
    if not uri.startswith("http"):
        return _database(uri, shown)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except MlflowException as error:
        told = without_secrets(str(error), uri)[:300]
        return Check("tracking", "failed", f"{shown} does not answer: {told}")
    return Check("tracking", "ok", f"{shown} answers")


def _database(uri: str, shown: str) -> Check:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    file = tracking_uri.sqlite_file(uri)
    if file is not None and not file.exists():
        writable = os.access(file.parent, os.W_OK)
        told = "will be made by the first search" if writable else f"cannot be made in {file.parent}"
        return Check("tracking", "ok" if writable else "failed", f"{shown} {told}")
    try:
        create_engine(uri).connect().close()
    except SQLAlchemyError as error:
        told = without_secrets(str(error), uri)[:300]
        return Check("tracking", "failed", f"{shown} cannot be opened: {told}")
    return Check("tracking", "ok", f"{shown} opens")


def hub_check(repo: str) -> Check:
    """Ask the Hub whom the token belongs to and whether it may write.

    The token is found by `huggingface_hub` itself and never passes through here.

    Args:
        repo: `owner/name` that a promotion would go to; empty asks for the token's role alone.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,
        RepositoryNotFoundError,
    )

    if not get_token():
        return Check("hub", "skipped", f"no token is set; before a promotion, {_LOGIN}")
    api = HfApi()
    try:
        who = api.whoami()
        if not repo:
            return _role(who)
        api.auth_check(repo, write=True)
    except RepositoryNotFoundError:
        # A repository that is missing is made by the promotion, where the token may.
        return _role(who, f"{repo} is not there or hidden from this token; ")
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code == 401:
            return Check("hub", "failed", f"the token is not valid; {_LOGIN}")
        if code == 403:
            return Check("hub", "failed", f"the token may not write to {repo}; give it the right to")
        return Check("hub", "warning", f"the Hub answers with status {code}; try again later")
    except (HTTPError, OSError, RuntimeError) as error:
        return Check("hub", "warning", f"the Hub does not answer ({type(error).__name__})")
    return Check("hub", "ok", f"the token of {who['name']} may write to {repo}")


def _role(who: dict[str, object], before: str = "") -> Check:
    auth = who.get("auth")
    access = auth.get("accessToken") if isinstance(auth, dict) else None
    role = access.get("role") if isinstance(access, dict) else None
    told = f"{before}the token of {who.get('name')} has the role {role!r}"
    if role == "read":
        return Check("hub", "failed", f"{told} and cannot push; make one with the right to write")
    if role == "fineGrained":
        return Check("hub", "warning", f"{told}: --repo owner/name tells whether it may write there")
    return Check("hub", "ok", told)
