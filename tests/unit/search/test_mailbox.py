import asyncio
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from search import mailbox
from search.faults import MAX_ATTEMPTS, MAX_GROUPS, Retry
from search.mailbox import Mailbox
from search.watch import Hang
from train_fn.assignment import Assignment, Failure
from train_fn.config import DataConfig, EngineConfig, RunConfig, TrainConfig
from train_fn.departure import Departure
from train_fn.heartbeat import BEAT_S, Beat
from train_fn.report import Evaluation, Outcome, Report

EVALUATION = Evaluation(1.0, 0.1, (1.0,), (3,), 0.1)


def assignment(ticket: int) -> Assignment:
    return Assignment(ticket, ticket * 10, TrainConfig(), "data", "workspace", "cache", 0.0)


def handed_out(answer: Assignment | str) -> Assignment | str:
    """The same without the time at which it was assigned, which is another one when it is tried again."""
    return replace(answer, assigned_at=0.0) if isinstance(answer, Assignment) else answer


def report(tokens: int, evaluation: Evaluation | None = None) -> Report:
    return Report(
        10, tokens, 1, 1, 1.0, (), 0.1, 0.1, 0.0, 0, 0.0, 0, "flat", 1.0, 1.0, 0.1, evaluation
    )  # fmt: skip


def outcome() -> Outcome:
    return Outcome(10, "finished", "done", 10, 1, 0, 1.0, 0.1, 1.0, 0.1, None)


def test_reports_arrive_in_order_and_unjudged_ones_do_not_wait() -> None:
    async def story() -> list[int]:
        box = Mailbox()
        await box.submit(assignment(1))
        assert (await box.next_trial(1.0)) == assignment(1)
        assert [await box.report(1, report(t)) for t in (1, 2)] == [True, True]
        assert await box.report(1, outcome())
        taken = [await box.take() for _ in range(3)]
        assert isinstance(taken[2], Outcome)
        return [m.tokens_seen for m in taken]

    assert asyncio.run(story()) == [1, 2, 10]


@pytest.mark.parametrize("goes_on", [True, False])
def test_an_evaluation_is_answered_once_it_was_judged(goes_on: bool) -> None:
    async def story() -> bool:
        box = Mailbox()
        await box.submit(assignment(1))
        judged = asyncio.ensure_future(box.report(1, report(1, EVALUATION)))
        await box.take()
        await asyncio.sleep(0.01)
        assert not judged.done()
        if goes_on:
            following = asyncio.ensure_future(box.take())
            answer = await judged
            following.cancel()
            return answer
        await box.submit(assignment(2))
        return await judged

    assert asyncio.run(story()) is goes_on


def test_reports_of_a_stopped_trial_are_stale() -> None:
    async def story() -> None:
        box = Mailbox()
        await box.submit(assignment(1))
        await box.submit(assignment(2))
        assert not await box.report(1, report(1))
        assert not await box.report(1, outcome())
        assert await box.next_trial(1.0) == assignment(2)
        await box.report(2, outcome())
        assert not await box.report(2, report(5)), "a trial that has ended reports no more"

    asyncio.run(story())


def test_a_restarted_group_gets_its_trial_again_but_not_for_ever() -> None:
    async def story() -> Outcome:
        box = Mailbox()
        await box.submit(assignment(1))
        for attempt in range(1, MAX_ATTEMPTS + 1):
            await box.join()
            assert handed_out(await box.next_trial(0.01)) == assignment(1)
            await box.lost({1: "exit type SYSTEM_ERROR"})
            if attempt < MAX_ATTEMPTS:
                retry = await box.take()
                assert isinstance(retry, Retry)
                assert (retry.cause, retry.skipped_examples) == ("died", 0)
        await box.join()
        message = await box.take()
        assert isinstance(message, Outcome)
        assert await box.next_trial(0.01) == "wait"
        return message

    given_up = asyncio.run(story())
    assert given_up.status == "failed"
    assert "3 attempts (died, died, died)" in given_up.reason
    assert not given_up.final


def test_a_trial_that_is_tried_again_starts_when_that_is_decided() -> None:
    async def story() -> tuple[Assignment, float, Assignment]:
        box = Mailbox()
        await box.submit(assignment(1))
        first = await box.next_trial(0.01)
        before = time.time()
        await box.lost({0: "exit type SYSTEM_ERROR"})
        again = await box.next_trial(0.01)
        assert isinstance(first, Assignment)
        assert isinstance(again, Assignment)
        return first, before, again

    first, before, again = asyncio.run(story())
    assert first.assigned_at < before <= again.assigned_at <= time.time()


def test_a_group_in_which_a_rank_failed_gets_no_trial_and_the_first_cause_counts() -> None:
    async def story() -> tuple[Retry, Assignment]:
        box = Mailbox()
        await box.submit(assignment(1))
        await box.join()
        await box.next_trial(0.01)
        broken = Failure(0, ("RuntimeError",), "RuntimeError: Connection closed by peer", 3, 24)
        assert await box.report(1, broken)
        assert await box.report(1, Failure(1, ("OutOfMemoryError",), "CUDA out of memory", 3, 24))
        assert await box.next_trial(0.01) == "wait"
        await box.lost({0: "RuntimeError", 1: "OutOfMemoryError"})
        retry = await box.take()
        assert isinstance(retry, Retry)
        again = await box.next_trial(0.01)
        assert isinstance(again, Assignment)
        return retry, again

    retry, again = asyncio.run(story())
    assert retry.cause == "out_of_memory"
    assert "max_tokens_per_micro_batch = 2048 instead of 4096" in retry.told
    assert again.config.engine.max_tokens_per_micro_batch == 2048


def test_the_step_that_is_left_out_is_named() -> None:
    async def story() -> list[Retry]:
        box = Mailbox()
        await box.submit(assignment(1))
        retries = []
        for _ in range(2):
            await box.next_trial(0.01)
            await box.report(1, Failure(0, ("IndexError",), "IndexError: index out of range", 3, 24))
            await box.join()
            retry = await box.take()
            assert isinstance(retry, Retry)
            retries.append(retry)
        return retries

    size = TrainConfig().optim.effective_batch_size
    told = [(retry.skipped_examples, retry.skipped_place) for retry in asyncio.run(story())]
    assert told == [(0, None), (size, 24)]


HOST_FULL = ("RuntimeError",), "RuntimeError: DefaultCPUAllocator: can't allocate memory"
GPU_FULL = ("OutOfMemoryError", "RuntimeError"), "OutOfMemoryError: CUDA out of memory."


@pytest.mark.parametrize(
    ("whole_gpus", "full", "final"),
    [(True, GPU_FULL, True), (True, HOST_FULL, False), (False, GPU_FULL, False), (False, HOST_FULL, False)],
)
def test_what_is_too_large_for_a_whole_gpu_always_fails(
    whole_gpus: bool, full: tuple[tuple[str, ...], str], final: bool
) -> None:
    async def story() -> Outcome:
        box = Mailbox(whole_gpus=whole_gpus)
        config = TrainConfig(
            data=DataConfig(max_example_tokens=300), engine=EngineConfig(max_tokens_per_micro_batch=600)
        )
        await box.submit(replace(assignment(1), config=config))
        for _ in range(2):
            await box.next_trial(0.01)
            await box.report(1, Failure(0, *full, 0, 0))
            await box.join()
        assert isinstance(await box.take(), Retry), "half the micro-batch is tried in any case"
        message = await box.take()
        assert isinstance(message, Outcome)
        return message

    given_up = asyncio.run(story())
    assert given_up.reason.startswith("out of memory even with the smallest micro-batch")
    assert given_up.final is final


def test_a_gpu_that_was_full_once_may_have_kept_what_came_before() -> None:
    async def story() -> Outcome:
        box = Mailbox(whole_gpus=True)
        config = TrainConfig(
            data=DataConfig(max_example_tokens=300), engine=EngineConfig(max_tokens_per_micro_batch=300)
        )
        await box.submit(replace(assignment(1), config=config))
        await box.next_trial(0.01)
        await box.report(1, Failure(0, *GPU_FULL, 120, 0))
        await box.join()
        message = await box.take()
        assert isinstance(message, Outcome)
        return message

    assert not asyncio.run(story()).final


def test_a_group_that_was_taken_down_without_an_error_is_not_held_against_its_trial() -> None:
    async def story() -> list[str]:
        box = Mailbox()
        await box.submit(assignment(1))
        causes = []
        for _ in range(2 * MAX_ATTEMPTS):
            await box.join()
            assert handed_out(await box.next_trial(0.01)) == assignment(1)
            await box.join()
            retry = await box.take()
            assert isinstance(retry, Retry)
            causes.append(retry.cause)
        return causes

    assert set(asyncio.run(story())) == {"lost"}


def test_fifteen_lost_machines_in_a_row_do_not_fail_a_trial() -> None:
    async def story() -> list[str]:
        box = Mailbox()
        await box.submit(assignment(1))
        causes = []
        for _ in range(15):
            await box.join()
            assert handed_out(await box.next_trial(0.01)) == assignment(1)
            await box.lost({0: "The actor died because its node has died."})
            retry = await box.take()
            assert isinstance(retry, Retry)
            causes.append(retry.cause)
        return causes

    assert asyncio.run(story()) == ["lost"] * 15


def test_a_trial_for_which_no_group_comes_up_fails_with_what_the_last_one_said() -> None:
    broken = "Traceback (most recent call last):\n  ...\nImportError: libaio.so.1 is not there\n"

    async def story() -> Outcome:
        box = Mailbox()
        await box.submit(assignment(1))
        for _ in range(MAX_GROUPS - 1):
            await box.lost({0: broken, 1: "The actor died unexpectedly."})
            await box.lost({1: "The actor died because its node has died."})  # says nothing of the next one
            await box.lost({})
        assert await box.next_trial(0.01) == assignment(1)
        await box.join()
        assert isinstance(await box.take(), Retry)
        for _ in range(MAX_GROUPS):  # anew: one had taken the trial up
            assert not box._messages
            await box.lost({0: broken})
        message = await box.take()
        assert isinstance(message, Outcome)
        return message

    failed = asyncio.run(story())
    assert failed.status == "failed"
    why = "ImportError: libaio.so.1 is not there"
    assert failed.reason == f"the worker group of the slot ended: {why}, for the {MAX_GROUPS}th time"
    assert not failed.final


def test_an_announced_departure_is_told_with_its_time_and_the_checkpoint_whatever_else_broke(
    tmp_path: Path,
) -> None:
    (tmp_path / "checkpoints" / "tokens-000000012345").mkdir(parents=True)
    deadline = datetime(2026, 11, 24, 17, 5).timestamp()

    async def story() -> Retry:
        box = Mailbox()
        await box.submit(replace(assignment(1), workspace=str(tmp_path)))
        await box.join()
        await box.next_trial(0.01)
        assert await box.report(1, Departure(deadline))
        broken = Failure(1, ("RuntimeError",), "RuntimeError: Connection closed by peer", 3, 24)
        await box.report(1, broken)
        await box.lost({0: "The actor died because its node has died.", 1: "RuntimeError"})
        retry = await box.take()
        assert isinstance(retry, Retry)
        await box.join()
        await box.next_trial(0.01)
        await box.join()
        later = await box.take()
        assert isinstance(later, Retry)
        assert later.told == "its worker group was taken down; tried again", "that machine is behind"
        return retry

    retry = asyncio.run(story())
    assert retry.cause == "lost"
    assert retry.told == "machine to be taken away at 17:05; checkpoint at 12,345 tokens; tried again"


def test_a_group_that_waits_in_vain_makes_room_and_its_last_beats_accuse_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> bool:
        box = Mailbox()
        await box.join()
        await box.beat(Beat(0, 4242, "node", 3, 0, None))
        assert await box.next_trial(0.01) == "wait"
        monkeypatch.setattr(mailbox, "REST_S", 0.0)
        assert await box.next_trial(0.01) == "close"
        await box.beat(Beat(0, 4242, "node", 3, 0, None))
        assert not box._ranks
        asked = asyncio.ensure_future(box.awaits_group())
        await asyncio.sleep(0.01)
        assert not asked.done()
        await box.submit(assignment(1))
        assert await box.next_trial(0.01) == assignment(1), "a group with a trial does not rest"
        return await asked

    assert asyncio.run(story())


def test_silence_of_a_machine_that_is_gone_is_no_hang() -> None:
    async def story() -> Retry:
        box = Mailbox(lambda nodes: "far" in nodes)
        await box.submit(assignment(1))
        await box.join()
        await box.next_trial(0.01)
        await box.beat(Beat(0, 4242, "far", 3, 7, 56))
        box._ranks[0] = replace(box._ranks[0], alive=box._ranks[0].alive - 1e6)
        assert await box.hang() is not None
        await box.join()
        retry = await box.take()
        assert isinstance(retry, Retry)
        return retry

    assert asyncio.run(story()).cause == "lost"


def test_a_rank_that_hangs_before_it_asked_for_the_trial_is_found_and_no_fault_of_the_trial() -> None:
    async def story() -> Hang | None:
        box = Mailbox()
        await box.beat(Beat(0, 4242, "node", 3, 0, None))
        box._ranks[0] = replace(box._ranks[0], alive=box._ranks[0].alive - 1000)
        await box.submit(assignment(1))
        hang = await box.hang()
        await box.lost({0: "killed"})
        await box.join()
        assert await box.next_trial(0.01) == assignment(1)
        assert not box._messages
        return hang

    assert asyncio.run(story()) is not None


def test_a_failure_of_a_trial_that_nobody_wants_is_no_fault_of_the_next() -> None:
    async def story() -> object:
        box = Mailbox()
        await box.submit(assignment(1))
        await box.join()
        await box.next_trial(0.01)
        await box.submit(assignment(2))
        assert not await box.report(1, Failure(0, ("IndexError",), "IndexError", 3, 24))
        await box.lost({0: "IndexError"})
        await box.join()
        assert await box.next_trial(0.01) == assignment(2)
        await box.report(2, outcome())
        return await box.take()

    assert asyncio.run(story()) == outcome()


def test_a_silent_group_is_found_while_it_holds_a_trial_and_only_once() -> None:
    quick = replace(assignment(1), config=TrainConfig(run=RunConfig(hang_timeout_s=5)))
    beat = Beat(1, 4242, "node", 3, 7, 56)

    async def story() -> tuple[Hang | None, Retry]:
        box = Mailbox()
        found = asyncio.ensure_future(box.hang())
        await box.beat(beat)
        await box.submit(quick)
        await box.next_trial(0.01)
        box._ranks[1] = replace(box._ranks[1], alive=box._ranks[1].alive - 60)
        hang = await found
        again = asyncio.ensure_future(box.hang())
        await asyncio.sleep(BEAT_S)
        assert not again.done()
        await box.lost({1: "killed"})
        await box.close()
        assert await again is None
        retry = await box.take()
        assert isinstance(retry, Retry)
        return hang, retry

    hang, retry = asyncio.run(story())
    assert hang == Hang((beat,), "workspace")
    assert retry.cause == "hang"
    assert "rank 1 gave no sign of life for 4 s" in retry.told


def test_a_worker_knows_whether_its_trial_was_stopped_or_the_slot_ends() -> None:
    async def story() -> list[bool]:
        box = Mailbox()
        await box.submit(assignment(1))
        await box.submit(assignment(2))
        stopped = [await box.report(1, report(1)), await box.is_closed()]
        await box.close()
        return [*stopped, await box.report(2, report(1)), await box.is_closed()]

    assert asyncio.run(story()) == [False, False, False, True]


def test_closing_sends_workers_home() -> None:
    async def story() -> None:
        box = Mailbox()
        waiting = asyncio.ensure_future(box.next_trial(5.0))
        await asyncio.sleep(0.01)
        await box.close()
        assert await waiting == "close"
        assert not await box.report(1, report(1))

    asyncio.run(story())


def test_a_lost_group_fails_the_trial_it_held() -> None:
    async def story() -> Outcome:
        box = Mailbox()
        await box.submit(assignment(1))
        await box.fail("the group is gone")
        message = await box.take()
        assert isinstance(message, Outcome)
        return message

    assert asyncio.run(story()).reason == "the group is gone"
