import threading

from train_fn.repeated import repeated


def test_it_is_called_until_the_block_ends() -> None:
    calls: list[str] = []
    twice = threading.Event()

    def act(over: threading.Event) -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 2:
            twice.set()

    with repeated(act, 0.001, "again"):
        assert twice.wait(10)
    assert set(calls) == {"again"}
    assert "again" not in {thread.name for thread in threading.enumerate()}


def test_it_may_end_itself() -> None:
    calls, ended = [], threading.Event()

    def act(over: threading.Event) -> None:
        calls.append(1)
        over.set()
        ended.set()

    with repeated(act, 0.001, "once"):
        assert ended.wait(10)
        for thread in threading.enumerate():
            if thread.name == "once":
                thread.join(10)
    assert calls == [1]


def test_it_learns_that_the_block_has_ended_while_it_was_at_work() -> None:
    begun, seen = threading.Event(), []

    def act(over: threading.Event) -> None:
        begun.set()
        seen.append(over.wait(10))

    with repeated(act, 0.001, "slow"):
        assert begun.wait(10)
    assert seen == [True]
