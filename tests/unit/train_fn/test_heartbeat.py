import faulthandler
import os
import time
from pathlib import Path

from train_fn.heartbeat import DUMP_SIGNAL, Beat, Pulse, beating


def test_beats_tell_where_training_stands_from_the_start_and_end_with_the_block() -> None:
    beats: list[Beat] = []
    pulse = Pulse()
    with beating(pulse, 1, "node", beats.append):
        assert [(beat.steps, beat.place) for beat in beats] == [(0, None)]
        pulse.at(3, 24)
        while len(beats) < 2:
            time.sleep(0.01)
    ended = len(beats)
    time.sleep(0.01)
    assert (beats[0].rank, beats[0].pid, beats[0].node) == (1, os.getpid(), "node")
    assert (beats[1].steps, beats[1].place) == (3, 24)
    assert len(beats) == ended
    assert not faulthandler.unregister(DUMP_SIGNAL), "it is not registered any more"


def test_the_signal_writes_the_stacks_of_all_threads_where_others_can_read_them() -> None:
    beats: list[Beat] = []
    with beating(Pulse(), 0, "node", beats.append):
        os.kill(os.getpid(), DUMP_SIGNAL)
        stacks = Path(f"/proc/{beats[0].pid}/fd/{beats[0].stacks_file}").read_text()
    assert "test_the_signal_writes_the_stacks" in stacks
    assert stacks.count("hread 0x") >= 2
