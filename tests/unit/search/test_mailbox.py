import asyncio

import pytest

from search.mailbox import Mailbox
from train_fn.assignment import Assignment
from train_fn.config import TrainConfig
from train_fn.report import Evaluation, Outcome, Report

EVALUATION = Evaluation(1.0, 0.1, (1.0,), (3,), 0.1)


def assignment(ticket: int) -> Assignment:
    return Assignment(ticket, ticket * 10, TrainConfig(), "data", "workspace", "cache", 0.0)


def report(tokens: int, evaluation: Evaluation | None = None) -> Report:
    return Report(
        10, tokens, 1, 1, 1.0, (), 0.1, 0.1, 0.0, 0, 0.0, 0, "flat", 1.0, 1.0, 0.1, evaluation
    )  # fmt: skip


def outcome() -> Outcome:
    return Outcome(10, "finished", "done", 10, 1, 0, 1.0, 0.1, 1.0, 0.1, None)


def test_reports_arrive_in_order_and_unjudged_ones_do_not_wait() -> None:
    async def story() -> list[int]:
        box = Mailbox(3)
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
        box = Mailbox(3)
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
        box = Mailbox(3)
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
        box = Mailbox(2)
        await box.submit(assignment(1))
        assert [await box.next_trial(0.01) for _ in range(2)] == [assignment(1)] * 2
        assert await box.next_trial(0.01) == "wait"
        message = await box.take()
        assert isinstance(message, Outcome)
        assert await box.next_trial(0.01) == "wait"
        return message

    given_up = asyncio.run(story())
    assert given_up.status == "failed"
    assert "2 attempts" in given_up.reason


def test_a_worker_knows_whether_its_trial_was_stopped_or_the_slot_ends() -> None:
    async def story() -> list[bool]:
        box = Mailbox(3)
        await box.submit(assignment(1))
        await box.submit(assignment(2))
        stopped = [await box.report(1, report(1)), await box.is_closed()]
        await box.close()
        return [*stopped, await box.report(2, report(1)), await box.is_closed()]

    assert asyncio.run(story()) == [False, False, False, True]


def test_closing_sends_workers_home() -> None:
    async def story() -> None:
        box = Mailbox(3)
        waiting = asyncio.ensure_future(box.next_trial(5.0))
        await asyncio.sleep(0.01)
        await box.close()
        assert await waiting == "close"
        assert not await box.report(1, report(1))

    asyncio.run(story())


def test_a_lost_group_fails_the_trial_it_held() -> None:
    async def story() -> Outcome:
        box = Mailbox(3)
        await box.submit(assignment(1))
        await box.fail("the group is gone")
        message = await box.take()
        assert isinstance(message, Outcome)
        return message

    assert asyncio.run(story()).reason == "the group is gone"
