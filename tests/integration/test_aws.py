"""cluster.aws.yaml, started on an EC2 that only pretends: moto answers in this process."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.commands import REPOSITORY

FILE = REPOSITORY / "cluster.aws.yaml"
TYPE = "ray-user-node-type"


class Recorded:
    """Stands where the launcher runs ssh and rsync; everything succeeds."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def check_call(self, command: list[str], *_: object, **__: object) -> None:
        self.commands.append(" ".join(command))

    def check_output(self, command: list[str], *_: object, **__: object) -> bytes:
        self.commands.append(" ".join(command))
        return b""


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The configuration, filled in with what an account has, and an empty account that has it."""
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "pretended")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("token")
    monkeypatch.chdir(REPOSITORY)
    with mock_aws():
        ec2, iam = boto3.client("ec2", "us-east-1"), boto3.client("iam")
        zone = [{"Name": "availability-zone", "Values": ["us-east-1a"]}]
        filled_in = {
            "subnet-00000000000000000": ec2.describe_subnets(Filters=zone)["Subnets"][0]["SubnetId"],
            "sg-00000000000000000": ec2.create_security_group(GroupName="sft", Description="sft")["GroupId"],
            "ami-00000000000000000": ec2.describe_images()["Images"][0]["ImageId"],
        }
        for name in ("sft-search-head", "sft-search-worker"):
            iam.create_instance_profile(InstanceProfileName=name)
        text = FILE.read_text()
        for shipped, own in filled_in.items():
            assert text.count(shipped) == 1
            text = text.replace(shipped, own)
        yield yaml.safe_load(text)


def instances() -> dict[str, dict[str, Any]]:
    """Return what runs, by node type."""
    import boto3

    found = boto3.client("ec2", "us-east-1").describe_instances()["Reservations"]
    running = [instance for reservation in found for instance in reservation["Instances"]]
    return {next(t["Value"] for t in one["Tags"] if t["Key"] == TYPE): one for one in running}


@pytest.mark.slow  # Ray reads every instance type there is
def test_the_head_is_on_demand_and_a_waiting_trial_brings_a_spot_worker(account: dict[str, Any]) -> None:
    from ray.autoscaler._private.commands import _bootstrap_config, get_or_create_head_node
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler._private.resource_demand_scheduler import (
        _default_utilization_scorer,
        get_nodes_for,
    )

    config = _bootstrap_config(account, no_config_cache=True)
    runner = Recorded()
    get_or_create_head_node(
        config, str(FILE), no_restart=False, restart_only=False, yes=True, override_cluster_name=None,
        _runner=runner,
    )  # fmt: skip
    head = instances()
    assert list(head) == ["head"]
    assert "InstanceLifecycle" not in head["head"]
    starts = [command for command in runner.commands if "ray start --head" in command]
    assert len(starts) == 1
    assert "RAY_enable_autoscaler_v2=1" in starts[0]
    assert any("cluster.sh tracking" in command for command in runner.commands)

    types = config["available_node_types"]
    four_ranks = {"GPU": 4.0, "CPU": 16.0}
    score = partial(_default_utilization_scorer, node_availability_summary=None)
    wanted, left = get_nodes_for(types, {}, "head", 4, [four_ranks] * 3, score)
    assert (wanted, left) == ({"gpu": 2}, []), "two slots of four GPUs on each machine"
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    provider.create_node(types["gpu"]["node_config"], {TYPE: "gpu"}, 1)
    worker = instances()["gpu"]
    assert worker["InstanceLifecycle"] == "spot"
    assert worker["InstanceType"] == "p4d.24xlarge"
    assert worker["IamInstanceProfile"]["Arn"].endswith("/sft-search-worker")
