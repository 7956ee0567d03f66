"""One command's part of a search: prepare, plan, connect, search, sum up."""

import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

from search import tracking_uri
from search.autoscaler import growing_cluster, request_slots
from search.capacity import Capacity, fixed, following
from search.carrier import Carrier, carrying
from search.cli import EXIT_RAY_LOST
from search.closing import closing_lines
from search.cluster import Cluster, local_machine
from search.code_version import code_version
from search.continuation import check_code, check_unchanged
from search.data import prepared_data
from search.fresh import check_fresh, set_aside
from search.halving import with_rungs
from search.ledger import FILE_NAME as LEDGER
from search.ledger import Ledger, read_events
from search.local_ray import RayInstance, connected
from search.lock import Lock, Owner, locked
from search.orphans import end_processes, wait_for_job
from search.plan import Plan, make_plan
from search.plan_text import plan_markdown
from search.progress import Progress
from search.ray_watch import control_store, own_ray, watched
from search.room import MARGIN_GIB, needed_gib
from search.shared import check_shared
from search.state import SearchState, replay
from search.storage import make_storage
from search.stranded import giving_back
from search.summary import FILE_NAME as SUMMARY
from search.summary import summarise, write_summary
from search.tracking import Tracker
from search.tuner import SearchInputs, is_complete, search
from spaces.experiment import Experiment
from spaces.words import count_text, tokens_text
from train_fn.command import EXIT_INTERRUPTED
from train_fn.config import TrainConfig
from train_fn.data_report import summary_line
from train_fn.limits import check_vocabulary
from train_fn.model_files import check_model_files
from train_fn.prepared import Prepared
from train_fn.working_copy import place_of

PLAN = "plan.md"
DATA_REPORT = "data_report.json"
_TRACKING_TIMEOUT_S = 60.0
_EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": EXIT_INTERRUPTED}


def run_session(
    experiment: Experiment, storage: Path, address: str, fresh: bool = False, allow_code_change: bool = False
) -> int:
    """Run or continue a search and print its result.

    Args:
        experiment: What to search.
        storage: The storage folder, or the working copy of a store; the search lies in a folder of its name
            below it.
        address: Of a running Ray cluster; empty starts Ray on this machine.
        fresh: Begin anew; a search that is there is moved aside, whole.
        allow_code_change: Go on although the code computes other figures than it did.

    Returns:
        The exit code: 0 finished, 1 no trial could run, 130 interrupted. Where Ray dies the process ends with
        3 and never returns.

    Raises:
        InputError: The plan cannot work, or something it needs is not there.
    """
    make_storage(storage)
    if fresh:
        check_fresh(storage, experiment.name)
    uri = tracking_uri.resolve(experiment.tracking.uri, os.environ.get("MLFLOW_TRACKING_URI"), storage)
    folder = storage / experiment.name
    # A supervisor stops us with SIGTERM; it deserves the same clean end as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    check_model_files(experiment.base.model)
    if not address:
        _check_precision(experiment.base)
    experiment = with_rungs(experiment)
    with locked(storage / f"{experiment.name}.lock") as lock:
        _end_what_was_left(lock.previous)
        if fresh and folder.exists():
            _check_new(experiment, storage, address)
            if (aside := set_aside(storage, experiment.name)) is not None:
                print(f"the search that was here is kept: --storage {aside} opens it")
        with (
            carrying(storage, experiment.name, lock) as carrier,
            closing(Ledger(folder / LEDGER)) as ledger,
        ):
            if carrier is not None and lock.previous is None:  # the working copy was lost with its lock
                _end_what_was_left(carrier.lock.previous)
            return _run(experiment, storage, address, uri, lock, ledger, carrier, allow_code_change)


def _run(
    experiment: Experiment,
    storage: Path,
    address: str,
    uri: str,
    lock: Lock,
    ledger: Ledger,
    carrier: Carrier | None,
    allow_code_change: bool,
) -> int:
    """Run or continue a search that no other command runs."""
    folder = storage / experiment.name
    past, place = list(read_events(folder / LEDGER)), place_of(folder)
    tracker = Tracker(uri, experiment, folder)
    state = replay(past)
    check_unchanged(experiment, None, past)
    if is_complete(experiment, folder, state, past):
        print(_over_line(experiment.name, state))
        tracker.start()
    else:
        prepared = prepared_data(experiment.base, storage, print)
        check_unchanged(experiment, prepared.key, past)
        code = code_version()
        changed = check_code(experiment.name, code, allow_code_change, past)
        plan = None if address else _plan(experiment, local_machine(), storage, prepared, state)
        with connected(address) as instance:
            locks = (lock,) if carrier is None else (lock, carrier.lock)
            for one in locks:
                if one.previous is not None and (job := one.previous.job_left_on(instance)):
                    wait_for_job(job)
                one.note_ray(instance)
            if address:
                check_shared(storage)
            if plan is None:
                plan = _plan(experiment, growing_cluster(), storage, prepared, state)
            inputs = SearchInputs(
                folder=folder.resolve(),
                prepared=prepared.folder.resolve(),
                data_key=prepared.key,
                cache=(storage / "cache").resolve(),
                code=code,
                code_change_allowed=changed,
                slots=plan.most_slots,
                capacity=_capacity(plan),
                needed_gib=_needed_here(plan, storage, address),
                local=not address,
                store="" if place is None else place.address,
            )
            state = _search(experiment, inputs, ledger, tracker, carrier, instance)
    return _sum_up(experiment, folder, state, tracker, uri)


def _over_line(name: str, state: SearchState) -> str:
    """Say of a search that ended by itself that nothing is left to do, and what would extend it."""
    if state.status == "failed":
        told = (
            "has failed with all its trials; a larger budget.trials extends it (--set), --fresh begins anew"
        )
    else:
        told = "is finished; a larger budget.trials, confirm.top or confirm.seeds extends it (--set)"
    return f"the search {name} {told}"


def _needed_here(plan: Plan, storage: Path, address: str) -> float:
    """Return the room that trials need on this machine's disk: none where they run elsewhere, on a store."""
    if address and place_of(storage / plan.experiment.name) is not None:
        return MARGIN_GIB
    return needed_gib(plan.model.disk if plan.model else None, plan.slots)


def _end_what_was_left(previous: Owner | None) -> None:
    """End what a command that was killed left running on this host."""
    if previous is None or not previous.ray_session or previous.host != socket.gethostname():
        return
    ended = end_processes(previous.ray_session)
    left = f"; {ended} processes that it left running were ended" if ended else ""
    print(f"the last command (process {previous.pid}) was killed{left}; the search goes on from its ledger")


def _check_precision(config: TrainConfig) -> None:
    """Refuse a precision that this machine cannot compute; asks only when one is named."""
    if config.engine.precision in ("fp16", "bf16"):
        from train_fn.precision import choose_precision, trial_device

        choose_precision(config.engine.precision, trial_device())


def _check_new(experiment: Experiment, storage: Path, address: str) -> None:
    """Refuse a search that cannot begin before the one that is there is moved aside for it."""
    prepared = prepared_data(experiment.base, storage, print)
    if not address:  # the machines of a cluster are known once Ray is connected
        _made_plan(experiment, local_machine(), storage, prepared, SearchState())


def _made_plan(
    experiment: Experiment, cluster: Cluster, storage: Path, prepared: Prepared, before: SearchState
) -> Plan:
    """Plan with the data as it is; refuse before anything starts."""
    train = prepared.train
    sizes = float(train.lengths.mean()), len(train), len(prepared.eval)
    plan = make_plan(experiment, cluster, storage, *sizes, before)
    if plan.model is not None:  # else its workers ask it
        check_vocabulary(experiment.base.model, plan.model.shape.vocabulary, prepared.report.highest_token)
    return plan


def _plan(
    experiment: Experiment, cluster: Cluster, storage: Path, prepared: Prepared, before: SearchState
) -> Plan:
    """Plan, keep the plan beside the search, and say it."""
    plan = _made_plan(experiment, cluster, storage, prepared, before)
    folder = storage / experiment.name
    (folder / PLAN).write_text(plan_markdown(plan))
    (folder / DATA_REPORT).write_bytes((prepared.folder / "report.json").read_bytes())
    print(summary_line(prepared.report))
    print("\n".join([_plan_line(plan), *(f"note: {note}" for note in plan.notes)]))
    return plan


def _capacity(plan: Plan) -> Capacity:
    if plan.cluster.local:
        return fixed(plan.slots)
    resources = plan.experiment.resources

    def ask(slots: int) -> None:
        if plan.cluster.addable:
            request_slots(resources, min(slots, plan.slots))

    return following(resources, plan.host_memory, plan.most_slots, ask)


def _plan_line(plan: Plan) -> str:
    experiment = plan.experiment
    rungs = ", ".join(tokens_text(rung) for rung in plan.rungs) or "none"
    runs = plan.tokens.confirming
    then = f", then at least {count_text(runs, 'run')} to confirm the best" if runs else ""
    return (
        f"plan: {experiment.budget.trials} trials of up to {tokens_text(experiment.base.run.max_tokens)} "
        f"tokens on {count_text(plan.slots, 'slot')}, rungs at {rungs} tokens{then} (--plan tells more)"
    )


def _search(
    experiment: Experiment,
    inputs: SearchInputs,
    ledger: Ledger,
    tracker: Tracker,
    carrier: Carrier | None,
    instance: RayInstance,
) -> SearchState:
    progress = Progress(experiment)
    lost = own_ray(os.getpid()) if instance.session else control_store(instance.control_store)
    tracker.start()
    progress.start()
    try:
        with watched(lost, lambda what: _end_without_ray(what, progress, instance)), giving_back():
            listeners = (progress.update, tracker.listen, *(() if carrier is None else (carrier.listen,)))
            return search(experiment, inputs, ledger, listeners)
    finally:
        progress.stop()


def _end_without_ray(what: str, progress: Progress, instance: RayInstance) -> None:
    """End this process at once: the main thread waits for a Ray that will never answer."""
    progress.stop()
    print(f"error: {what}; the search stops, nothing is lost, and the same command goes on", file=sys.stderr)
    if instance.session:
        end_processes(instance.session)
    sys.stdout.flush()
    os._exit(EXIT_RAY_LOST)


def _sum_up(experiment: Experiment, folder: Path, state: SearchState, tracker: Tracker, uri: str) -> int:
    tracker.flush(_TRACKING_TIMEOUT_S)  # the summary names the runs, so they must be there
    write_summary(folder / SUMMARY, summarise(state, experiment, folder, tracker.run_ids()))
    for name in (PLAN, DATA_REPORT, SUMMARY):
        tracker.artifact(folder / name)
    tracker.close(_TRACKING_TIMEOUT_S)
    for line in closing_lines(state, experiment, folder.parent, tracking_uri.dashboard_command(uri)):
        print(line)
    address = tracker.address()
    if address is not None:
        print(f"  opens at {tracking_uri.page_at(uri, address)}")
    return _EXIT_CODES[state.status]
