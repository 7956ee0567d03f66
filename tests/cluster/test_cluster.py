"""The shipped cluster.yaml on three machines: launched, used in every way, hurt, attacked, and taken down.

One cluster serves all tests, in the order in which they stand: launching takes half a minute.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.events import Ended, Event, Reported, Retried
from search.ledger import FILE_NAME, read_events
from search.state import SearchState
from search.tracking import updates_of
from tests.cluster.hosts import REPOSITORY, boot, cut, inside, kill, mend, processes, run
from tests.cluster.launched import FILE, NODES, Cluster, succeed, wait_until
from tests.dialogues import write_dialogues
from tests.skips import skip
from tests.unit.search.sent import Sent, sent_figures

pytestmark = pytest.mark.cluster
MAX_TOKENS = 96_000  # long enough that machines are hurt while they train, fast ones too
SETTINGS = (
    "data.sources=/srv/storage/mine.jsonl",
    "data.max_example_tokens=128",
    "data.max_eval_examples=32",
    f"run.max_tokens={MAX_TOKENS}",
    "run.window_tokens=4000",
    "halving.first_rung_tokens=48000",
    "optim.effective_batch_size=8",
    "optim.warmup_tokens=0",
    "optim.schedule=constant",
    "confirm.top=0",
    "budget.trials=4",
    f"resources.cpus_per_rank={os.cpu_count()}",  # a slot fills a machine, so there is one on each
)
ARGUMENTS = " ".join(
    ["exp4 --profile laptop --storage /srv/storage/runs", *(f"--set {setting}" for setting in SETTINGS)]
)
SEARCH = f"python -m search.run {ARGUMENTS}"
DASHBOARD = "http://127.0.0.1:8265"
RANK = "RayTrainWorker"
PASSWORD = "correct-horse-battery"
CUT_S = 12
FINISHED = "the search exp4 is finished"


def folder(cluster: Cluster) -> Path:
    return cluster.net.storage / "runs" / "exp4"


def events(cluster: Cluster) -> list[Event]:
    return list(read_events(folder(cluster) / FILE_NAME))


def reports(cluster: Cluster) -> dict[int, list[int]]:
    """Tokens seen at each report, by trial."""
    found: dict[int, list[int]] = defaultdict(list)
    for event in events(cluster):
        if isinstance(event, Reported):
            found[event.report.trial].append(event.report.tokens_seen)
    return found


def trains(cluster: Cluster, name: str) -> bool:
    return bool(ranks(cluster, name))


def ranks(cluster: Cluster, name: str) -> list[int]:
    return [pid for pid, told in processes(cluster.net, name).items() if RANK in told]


def hold(cluster: Cluster, name: str) -> None:
    """Stop the ranks of a machine where they are."""
    held = ranks(cluster, name)
    assert held
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    ended = [event.outcome.trial for event in events(cluster) if isinstance(event, Ended)]
    assert len(ended) < 3, "there is still a trial for this machine"


def tracked(cluster: Cluster) -> Sent:
    return Sent(f"sqlite:///{cluster.net.hosts['head'].home / 'mlflow.db'}", "exp4")


def run_ids(cluster: Cluster) -> dict[str, str]:
    return {run.info.run_name: run.info.run_id for run in tracked(cluster).runs}


@contextmanager
def typed_at_desk(cluster: Cluster, script: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Keep a command of the user running within the block, then press Ctrl-C."""
    here = f"export PATH={sys.prefix}/bin:$PATH; cd {REPOSITORY}; exec {script}"
    with log.open("wb") as out:
        typed = subprocess.Popen(inside(cluster.net, "desk", here, 700), stdout=out, stderr=out)
        try:
            yield typed
        finally:
            name = re.escape(script.split(" --set")[0])
            cluster.at_desk(f"pkill -INT -f '^{name}'")
            typed.wait(60)


def test_ray_up_starts_every_machine_and_none_of_them_for_trials_on_the_head(cluster: Cluster) -> None:
    assert cluster.alive() == sorted(NODES)
    both = f"/{2 * (os.cpu_count() or 1)}.0 CPU"
    wait_until(lambda: both in succeed(cluster.at_head("ray status")), 60)  # it looks every few seconds


def test_the_tracking_server_is_started_again_when_it_dies(cluster: Cluster) -> None:
    asks = "curl --silent --fail http://127.0.0.1:5000/health"
    wait_until(lambda: cluster.at_head(asks).stdout == "OK", 180)
    succeed(cluster.at_head("pkill -KILL -f '[u]vicorn .*mlflow'"))
    log = cluster.net.hosts["head"].home / "mlflow.log"
    wait_until(lambda: "it is started again" in log.read_text(), 60)
    wait_until(lambda: cluster.at_head(asks).stdout == "OK", 180)


def test_a_search_outlives_a_dead_machine_and_a_cut_link_and_is_followed_from_the_desk(
    cluster: Cluster, tmp_path: Path
) -> None:
    net = cluster.net
    write_dialogues(net.storage / "mine.jsonl")
    succeed(cluster.at_desk("ssh -f -N -o StrictHostKeyChecking=no -L 8265:127.0.0.1:8265 head"))
    with typed_at_desk(cluster, f"{SEARCH} --address {DASHBOARD}", tmp_path / "first.log"):
        wait_until(lambda: sum(len(seen) >= 2 for seen in reports(cluster).values()) >= 2, 300)
        assert trains(cluster, "worker-2")
        hold(cluster, "worker-1")  # what it trains now must not end before the machine dies
        before = run_ids(cluster)
    assert "the search goes on" in (tmp_path / "first.log").read_text()
    kill(net, "worker-1")
    cut(net, "worker-2")
    time.sleep(CUT_S)
    mend(net, "worker-2")
    boot(net, "worker-1")
    with typed_at_desk(cluster, f"{SEARCH} --address {DASHBOARD}", tmp_path / "again.log") as followed:
        assert followed.wait(600) == 0
    told = (tmp_path / "again.log").read_text()
    assert "following job" in told
    assert "Search exp4 (laptop) finished: 4 trials" in told
    past = events(cluster)
    ended = {event.outcome.trial: event.outcome.status for event in past if isinstance(event, Ended)}
    assert sorted(ended) == [0, 1, 2, 3]
    assert not {"failed", "cancelled"} & set(ended.values())
    retries = [event for event in past if isinstance(event, Retried)]
    assert {retry.cause for retry in retries} == {"lost"}, "by the machine that died, and by nothing else"
    for seen in reports(cluster).values():
        assert seen == sorted(set(seen)), "every window once"
    assert set(before.items()) <= set(run_ids(cluster).items())
    assert sent_figures(tracked(cluster)) == figures_of(past)


def figures_of(past: list[Event]) -> dict[str, dict[str, list[tuple[int, int, float]]]]:
    """What MLflow must hold of a search, by what its ledger says."""
    found: dict[str, dict[str, list[tuple[int, int, float]]]] = {}
    for update in updates_of(SearchState(), past, MAX_TOKENS)[0]:
        name = "exp4" if update.trial is None else f"exp4-{update.trial:04d}"
        metrics = found.setdefault(name, defaultdict(list))
        for figure in update.figures:
            metrics[figure.key].append((figure.step, figure.time_ms, figure.value))
    return {run: {key: sorted(values) for key, values in metrics.items()} for run, metrics in found.items()}


def test_the_same_search_is_found_by_ray_submit_by_a_job_and_on_the_head(cluster: Cluster) -> None:
    assert FINISHED in succeed(cluster.at_head(SEARCH))
    assert FINISHED in succeed(cluster.at_desk(f"ray submit ~/{FILE} search/run.py {ARGUMENTS}"))
    job = f"RAY_AUTH_MODE=token ray job submit --address {DASHBOARD} -- {SEARCH}"
    assert FINISHED in succeed(cluster.at_desk(job))


def test_a_folder_that_the_machines_do_not_share_is_refused(cluster: Cluster) -> None:
    refused = cluster.at_head(SEARCH.replace("/srv/storage/runs", "~/runs"))
    assert refused.returncode == 2, refused.stdout
    last = refused.stdout.splitlines()[-1]
    assert last.startswith("error: --storage ")
    assert "is a folder of this machine alone: node 10.77.0." in last


def test_the_doctor_examines_every_machine_and_adds_up_over_two_of_them(cluster: Cluster) -> None:
    slot = ("ranks_per_slot=2", "span_nodes=true", f"cpus_per_rank={os.cpu_count()}")
    settings = " ".join(f"--set resources.{setting}" for setting in slot)
    asks = f"python -m search.doctor exp4 --profile laptop --storage /srv/storage/doctor {settings}"
    said = succeed(cluster.at_head(asks, 300)).splitlines()
    told = {line.split()[0]: line.split(maxsplit=2)[1:] for line in said if len(line.split()) > 2}
    assert said[-1] == "ready"
    assert told["machines"][1].startswith("3 nodes: ")
    assert told["storage"] == ["ok", "/srv/storage/doctor is written and read by 3 nodes"]
    assert told["all-reduce"][1].startswith("gloo between 2 ranks, sums right; ")
    for name in ("versions", "code", "clocks", "disk", "tracking"):
        assert told[name][0] == "ok", said


def test_the_head_alone_reaches_the_dashboard_and_the_tracking_server(cluster: Cluster) -> None:
    head = cluster.net.hosts["head"].address
    for port in (5000, 8265):
        assert f"127.0.0.1:{port}" in succeed(
            cluster.at_head(f"ss --listening --tcp --numeric | grep :{port}")
        )
        for name in ("worker-1", "stranger"):
            asked = asks(cluster, name, f"curl --max-time 5 http://{head}:{port}/")
            assert asked.returncode == 7, "curl could not connect"


def test_a_client_without_the_token_gets_nothing_from_ray(cluster: Cluster) -> None:
    head = cluster.net.hosts["head"].address
    ways = (
        f"ray status --address {head}:6379",
        f"""python -c "import ray; ray.init('{head}:6379'); print(ray.nodes())" """,
        f"""python -c "import ray; ray.init('ray://{head}:10001'); print(ray.nodes())" """,
    )
    token = (cluster.net.hosts["head"].home / ".ray/auth_token").read_text()
    for tokens, let_in in (("", False), ("RAY_AUTH_TOKEN=wrong", False), (f"RAY_AUTH_TOKEN={token}", True)):
        mode = f"export RAY_AUTH_MODE=token {tokens}" if tokens else "true"
        asked = asks(cluster, "stranger", f"{mode}; {ways[0]}")
        assert ("local.cluster.node" in asked.stdout) == let_in, asked.stdout
    # What is refused tries again for a minute; twenty seconds are enough for what is let in.
    tried = [
        f"(export {tokens}; timeout 20 {way})"
        for tokens in ("NONE=", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong")
        for way in ways[1:]
    ]
    asked = asks(cluster, "stranger", f"{' & '.join(tried)} & wait")
    assert "NodeID" not in asked.stdout


def test_with_a_password_the_tracking_server_answers_other_hosts_that_have_it(cluster: Cluster) -> None:
    if importlib.util.find_spec("flask_wtf") is None:
        skip("cluster", "MLflow's basic authentication needs the package Flask-WTF (mlflow[auth])")
    home = cluster.net.hosts["head"].home
    with (home / ".sft-search.env").open("a") as settings:
        settings.write(f"export TRACKING_PASSWORD={PASSWORD}\n")
    succeed(
        cluster.at_head("pkill -KILL -f '[m]lflow[ .]server'; bash ~/sft-search/.cluster/cluster.sh tracking")
    )
    search = f"http://{cluster.net.hosts['head'].address}:5000/api/2.0/mlflow/experiments/get-by-name"
    asked = f"curl --silent --get --data experiment_name=exp4 --write-out '%{{http_code}}' {search}"
    wait_until(lambda: asks(cluster, "stranger", asked).stdout.endswith("401"), 180)
    for login, answer in (("sft:a wrong password", "401"), (f"sft:{PASSWORD}", "200")):
        assert asks(cluster, "stranger", f"{asked} --user '{login}'").stdout.endswith(answer)
    client = "from mlflow import MlflowClient; print(MlflowClient().get_experiment_by_name('exp4').name)"
    assert "exp4" in succeed(cluster.at_head(f'python -c "{client}"')), "drivers log in by themselves"


def asks(cluster: Cluster, name: str, script: str) -> "subprocess.CompletedProcess[str]":
    return run(cluster.net, name, f"export PATH={sys.prefix}/bin:$PATH; {script}", 60)


def test_ray_down_leaves_no_process(cluster: Cluster) -> None:
    succeed(cluster.at_desk(f"ray down --yes ~/{FILE}"))
    for name in NODES:
        wait_until(lambda name=name: processes(cluster.net, name) == {}, 240)
    assert (cluster.net.hosts["head"].home / "mlflow.db").exists()
