"""The files that bring a cluster up, as far as they can be judged without one."""

import importlib.metadata
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).parents[2]
FILES = ("cluster.yaml", "cluster.aws.yaml")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def read(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((REPOSITORY / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


def pins() -> dict[str, Version]:
    lines = (REPOSITORY / ".cluster" / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("name", FILES)
def test_a_cluster_file_obeys_rays_schema(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_the_lines_to_edit_stand_on_top(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    top, _, rest = text.partition("# " + "-" * 106 + "\n")
    assert {"provider", "auth", "initialization_commands"} <= set(yaml.safe_load(top))
    assert "cluster_name" in yaml.safe_load(rest)


def test_both_clusters_install_and_start_the_same() -> None:
    ours, aws = (read(name) for name in FILES)
    for key in ("file_mounts", "rsync_exclude", "head_setup_commands", "worker_start_ray_commands"):
        assert ours[key] == aws[key]
    (start,) = (line for line in ours["head_start_ray_commands"] if "ray start" in line)
    (start_aws,) = (line for line in aws["head_start_ray_commands"] if "ray start" in line)
    assert start.removeprefix("RAY_enable_autoscaler_v2=0 ") == start_aws
    assert "--num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1" in start


def test_everything_that_a_cluster_installs_is_in_the_repository() -> None:
    mounts = read("cluster.yaml")["file_mounts"]
    local = [source for source in mounts.values() if not source.startswith("~")]
    assert all((REPOSITORY / source).exists() for source in local)
    packages = {name.split(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    assert packages <= set(local)


def test_every_dependency_is_pinned_to_a_version_that_the_project_allows() -> None:
    pinned = pins()
    extra = PROJECT["project"]["optional-dependencies"]["cluster"]
    for text in (*PROJECT["project"]["dependencies"], *extra):
        needed = Requirement(text)
        assert pinned[canonicalize_name(needed.name)] in needed.specifier, text


def test_the_tests_run_with_the_pinned_versions_of_what_decides_figures() -> None:
    pinned = pins()
    for name in ("ray", "torch", "transformers", "deepspeed", "optuna", "mlflow"):
        assert Version(importlib.metadata.version(name)).public == str(pinned[name])


def test_the_script_of_the_machines_can_be_parsed() -> None:
    subprocess.run(["bash", "-n", str(REPOSITORY / ".cluster" / "cluster.sh")], check=True)


def test_a_cluster_installs_what_opens_the_database_that_its_file_offers() -> None:
    from sqlalchemy import make_url

    offered = next(
        line for line in (REPOSITORY / "cluster.yaml").read_text().splitlines() if "postgresql://" in line
    )
    driver = make_url(offered.split("=", 1)[1]).get_dialect().driver
    installed = [Requirement(line).name for line in PROJECT["project"]["optional-dependencies"]["cluster"]]
    assert driver in installed
