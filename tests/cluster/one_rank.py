"""Be one rank of a group on several machines: `python -m tests.cluster.one_rank '[rank, ranks, ...]'`."""

import json
import sys

from tests.invariance.runs import run_rank

if __name__ == "__main__":
    run_rank(*json.loads(sys.argv[1]))
