"""A SuperNode in its own process: a ClientApp that is slow to start is not started twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.plant.station.supernode_program import START_SECONDS

#: A SuperNode's own account of its tasks, with the time that the words name going by in between.
ACCOUNT = """
import datetime, json, sys
ours, seconds = sys.argv.pop(1) == "ours", [float(word) for word in sys.argv[1:]]
sys.argv[1:] = ["--trusted-app=any"]
if ours:
    from common.plant.station.supernode_program import prepare
    prepare()
from flwr.supercore.corestate import in_memory_corestate as module
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.nodestate import NodeStateFactory
later, now = [0.0], module.now
module.now = lambda: now() + datetime.timedelta(seconds=later[0])
starting, working = seconds
state = NodeStateFactory(ObjectStoreFactory()).state()
task = state.create_task("flwr-clientapp", 7)
token = state.claim_task(task)
later[0] += starting
state.get_task_by_token(token)
second = state.claim_task(task) is not None
begun = not second and state.activate_task(task)
later[0] += working
print(json.dumps([second, begun, state.get_task_by_token(token) is not None]))
"""


def account(whose: str, starting: float, working: float, home: Path) -> list[bool]:
    """Whether a second one was started, the first one began, and it counts as working."""
    done = subprocess.run(
        [sys.executable, "-c", ACCOUNT, whose, str(starting), str(working)],
        env={"FLWR_HOME": str(home), "PATH": "/usr/bin", "FLWR_DISABLE_UPDATE_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[bool] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("whose", "starting", "working", "found"),
    [
        ("Flower's", 35, 0, [True, False, False]),
        ("ours", 35, 0, [False, True, True]),
        ("ours", START_SECONDS - 5, 0, [False, True, True]),
        ("ours", START_SECONDS + 5, 0, [True, False, False]),
        # One that has begun and tells nothing any more is missed as soon as by Flower's own.
        ("Flower's", 5, 55, [False, True, True]),
        ("Flower's", 5, 65, [False, True, False]),
        ("ours", 5, 55, [False, True, True]),
        ("ours", 5, 65, [False, True, False]),
    ],
)
def test_who_starts_slowly_is_waited_for(
    whose: str, starting: float, working: float, found: list[bool], tmp_path: Path
) -> None:
    assert account(whose, starting, working, tmp_path) == found
