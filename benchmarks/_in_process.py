"""A run in this process: the ServerApp and ClientApp of a real one, without Flower's processes.

Flower's start costs a small run more than its own work, and a table needs dozens of runs. Messages,
checks and figures are those of any run; what is not here is the network between them, and the
pictures and the page that a run ends with.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flwr.app import Context, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from client_app.app import app as client_app
from common.config import Settings
from common.data.layout import index_data
from common.patchcore.network.choice import settle_network
from common.runs import output
from common.runs.baseline import run_baseline
from server_app.app import app as server_app

Answer = Callable[[int, Message, Callable[[], Message]], Message]
"""(node, request, the station at work) -> what the server gets for it."""

# Stations keep rows by the run's number; one that was ended halfway may have left some.
_runs = itertools.count(time.time_ns())


def honest(node: int, request: Message, work: Callable[[], Message]) -> Message:
    """Pass on what the station answers."""
    return work()


class DirectGrid(Grid):
    """Calls the ClientApp of every station when a message is pushed; `answer` stands between."""

    def __init__(
        self, stations: int, run_id: int, run_config: dict[str, Any], answer: Answer = honest
    ) -> None:
        self._answer = answer
        self._contexts = {
            number + 1: Context(
                run_id,
                number + 1,
                {"partition-id": number, "num-partitions": stations},
                RecordDict(),
                run_config,
            )
            for number in range(stations)
        }
        self._replies: dict[str, Message] = {}

    run = property(lambda self: None)

    def set_run(self, run: object) -> None:
        """Nothing is kept of it."""

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message as Flower's own grids do."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All stations; none is ever away."""
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """The same with what is known of them: nothing."""
        return [NodeInfo(node_id=node) for node in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Have every message answered; a failing station ends the benchmark."""
        ids = []
        for message in messages:
            identifier = message.object_id
            message.metadata.__dict__["_message_id"] = identifier
            request = Message(content=copy.copy(message.content), metadata=message.metadata)
            node = message.metadata.dst_node_id
            work = partial(client_app, request, self._contexts[node])
            self._replies[identifier] = self._answer(node, message, work)
            ids.append(identifier)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Answers that are there."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Push and pull."""
        return self.pull_messages(self.push_messages(messages))


def run_here(
    command: str, data: Path, out: Path, assignments: list[str], answer: Answer = honest
) -> dict[str, Any]:
    """Do what `baseline` or `federate` does, and say what it took.

    Parameters
    ----------
    command : {"baseline", "federate"}
    data, out : Path
    assignments : list of `key=value`
    answer : callable
        Stands between the server and each station of a federated run: it has the station work,
        and may change what comes of it.

    Returns
    -------
    dict
        `wall_seconds`; `cpu_seconds` of all threads of this process; `peak_together_mb`, the most
        memory it had meanwhile, libraries included (None where the kernel does not tell).
    """
    settings = Settings(data_root=str(data), output_dir=str(out)).override(assignments).absolute()
    settings, _ = settle_network(settings, may_fall_back=True)
    forgotten = _forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    with _without_pages():
        if command == "baseline":
            run_baseline(settings, index_data(data), out)
        else:
            run_id, run_config = next(_runs), settings.to_run_config()
            logging.getLogger("flwr").setLevel(logging.WARNING)
            # Flower's own processes say so of themselves; messages are not made without.
            TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = run_id
            grid = DirectGrid(settings.num_stations, run_id, run_config, answer)
            server_app(grid=grid, context=Context(run_id, 0, {}, RecordDict(), run_config))
    return {
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_together_mb": _peak_mb() if forgotten else None,
    }


@contextlib.contextmanager
def _without_pages() -> Iterator[None]:
    """Leave plots and reports out: longer than a small run, and nobody looks at those of dozens."""
    with (
        patch.object(output, "write_run_plots", lambda folder: []),
        patch.object(output, "write_report", lambda folders, out: out),
    ):
        yield


def _forget_peak() -> bool:
    """Begin a new peak of this process's memory, where the kernel can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return os.name == "posix"


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
