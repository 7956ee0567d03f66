from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler import sdk

from search.autoscaler import addable_nodes, request_slots
from spaces.experiment import ResourcesConfig
from train_fn.errors import InputError

CONFIGURATION = """
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 8}, max_workers: 0}
  large: {resources: {CPU: 32, GPU: 4, memory: 2147483648, "accelerator_type:A100": 1}, max_workers: 2}
  small: {resources: {CPU: 4}, max_workers: 5}
"""


def test_the_workers_of_a_configuration_are_counted_up_to_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "ray.yaml"
    path.write_text(CONFIGURATION)
    nodes, most = addable_nodes(path)
    assert [node.name for node in nodes] == ["large"] * 2 + ["small"] * 5
    assert most == 3
    large = nodes[0]
    assert (large.cpus, large.gpus, large.memory_gib, large.gpu_name) == (32, 4, 2, "A100")
    assert addable_nodes(tmp_path / "absent.yaml") == ((), 0)


@pytest.mark.parametrize("text", ["[1, 2]", "{", "available_node_types: {a: {}}\nhead_node_type: b"])
def test_a_file_that_ray_up_did_not_write_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ray.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="is no configuration of `ray up`"):
        addable_nodes(path)


def test_a_slot_is_asked_for_on_one_node_unless_it_may_span_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(sdk, "request_resources", lambda bundles: asked.append(bundles))
    request_slots(ResourcesConfig(ranks_per_slot=2), 3)
    request_slots(ResourcesConfig(ranks_per_slot=2, span_nodes=True, gpus_per_rank=1, accelerator="L4"), 1)
    request_slots(ResourcesConfig(), 0)
    assert asked == [[{"CPU": 2}] * 3, [{"CPU": 1, "GPU": 1, "accelerator_type:L4": 0.001}] * 2, []]
