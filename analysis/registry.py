"""Tell MLflow what was promoted: tags on the trial's run, a version in the model registry, an alias.

The alias is the branch's name, so `models:/org--name@dev` is what the branch holds.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.hub import Target
from analysis.mlflow_link import TrackingError, client, find_link
from analysis.promotion import RECORD_NAME, Commit

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient


def register(
    folder: Path, addresses: Sequence[str], trial: int, target: Target, commit: str, url: str, package: Path
) -> str:
    """Tag the trial's run and let the alias point to this promotion; return what was done, in one line.

    Doing it again changes nothing.

    Args:
        folder: The search's folder, which says where its figures went.
        addresses: Tracking addresses with their passwords that the search may have used.
        trial: The promoted trial.
        target: Where it went.
        commit: The commit there.
        url: Address of the commit's files.
        package: The folder that was sent; its record becomes an artifact of the run.
    """
    try:
        link = find_link(folder, addresses)
        run = link.runs.get(str(trial))
        if run is None:
            raise TrackingError(f"trial {trial} has no run there")
        with client(link) as mlflow:
            tags = {"promoted.to": str(target), "promoted.commit": commit}
            for key, value in tags.items():
                mlflow.set_tag(run, key, value)
            mlflow.log_artifact(run, str(package / RECORD_NAME), "promotion")
            name = _registered(mlflow, target)
            known = _version_of(_versions(mlflow, name), target, Commit(commit, None))
            version = known or mlflow.create_model_version(
                name, source=url, run_id=run, tags={**tags, "commit": commit}, await_creation_for=0
            )
            mlflow.set_registered_model_alias(name, alias_of(target.branch), version.version)
    except TrackingError as error:
        return f"MLflow: not registered, {error}"
    return f"MLflow: {name} version {version.version} has the alias {alias_of(target.branch)}"


def point_back(
    folder: Path, addresses: Sequence[str], target: Target, previous: Commit, taken_back: Commit
) -> str:
    """Let the alias point to an earlier promotion again; return what was done, in one line.

    Args:
        folder: The search's folder.
        addresses: Tracking addresses with their passwords that the search may have used.
        target: The branch that was rolled back.
        previous: The commit whose files it holds again.
        taken_back: The commit that it held.
    """
    alias = alias_of(target.branch)
    try:
        link = find_link(folder, addresses)
        with client(link) as mlflow:
            name = _registered(mlflow, target)
            versions = _versions(mlflow, name)
            gone = _version_of(versions, target, taken_back)
            if gone is not None:
                mlflow.set_model_version_tag(name, gone.version, "rolled_back", "true")
            again = _version_of([one for one in versions if one is not gone], target, previous)
            if again is None:
                mlflow.delete_registered_model_alias(name, alias)
                return f"MLflow: {name} knows no version of {previous.id[:12]}; the alias {alias} was removed"
            mlflow.set_registered_model_alias(name, alias, again.version)
    except TrackingError as error:
        return f"MLflow: the alias {alias} was not moved, {error}"
    return f"MLflow: {name} version {again.version} has the alias {alias} again"


def alias_of(branch: str) -> str:
    """Return a branch's name as an alias of MLflow, which reserves `latest` and `v1` and has no slash."""
    alias = re.sub(r"[^\w-]", "-", branch)
    return f"branch-{alias}" if alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias) else alias


def _registered(mlflow: "MlflowClient", target: Target) -> str:
    """Return the registered model of a repository, made if missing. Its name cannot hold a slash."""
    name = target.repo.replace("/", "--")
    if not mlflow.search_registered_models(f"name = '{name}'"):
        mlflow.create_registered_model(name, description=f"Promotions to {target.repo} on the Hub")
    return name


def _versions(mlflow: "MlflowClient", name: str) -> "list[ModelVersion]":
    """List the versions of a registered model, newest first."""
    found = mlflow.search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda one: -int(one.version))


def _version_of(versions: "Sequence[ModelVersion]", target: Target, commit: Commit) -> "ModelVersion | None":
    """Return the version that a commit is, None where none is known.

    A rollback, or a card written anew, is a commit that no version names; its record is still that of the
    promotion, and names the run.
    """
    run = commit.record.mlflow_run if commit.record is not None else None
    found = [one for one in versions if one.tags.get("commit") == commit.id]
    if run is not None:
        found += [one for one in versions if one.run_id == run and one.tags.get("promoted.to") == str(target)]
    return found[0] if found else None
