"""The whole server and its stations in one process: a Grid that calls the ClientApp itself."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from letter_cases import plant_keys, with_keys

from client_app.app import app as client_app
from common.config import Settings
from server_app.app import app as server_app

Tamper = Callable[[int, Message, Message], Message | None]
"""(node, request, honest reply) -> what the server gets; None: nothing ever comes."""

Online = Callable[["LocalGrid", int], bool]
"""(grid, node) -> whether it is there at this moment."""

_run_ids = itertools.count(1)


def honest(node: int, request: Message, reply: Message) -> Message:
    return reply


def always(grid: LocalGrid, node: int) -> bool:
    return True


class LocalGrid(Grid):
    """Hands every message to the ClientApp at once, and the replies back in reversed order.

    A node that is not online gets no message; `members` are names and keys as Flower knows them.
    Where the ServerApp takes this for a simulation, the grid signs what real stations are asked.
    """

    def __init__(
        self,
        nodes: Mapping[int, Mapping[str, Any]],
        run_config: Mapping[str, Any],
        run_id: int,
        tamper: Tamper = honest,
        reverse: bool = True,
        online: Online = always,
        members: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        self.tamper, self.reverse = tamper, reverse
        self.online, self.members = online, members or {}
        self.kinds: list[str] = []
        self._replies: dict[str, Message] = {}
        self._contexts = {
            node: Context(run_id, node, with_keys(config), RecordDict(), dict(run_config))
            for node, config in nodes.items()
        }

    def set_run(self, run: object) -> None:
        pass

    run = property(lambda self: None)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self._contexts if self.online(self, node)]

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=n, **self.members.get(n, {})) for n in self.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            identifier = message.object_id
            message.metadata.__dict__["_message_id"] = identifier
            ids.append(identifier)
            node = message.metadata.dst_node_id
            there = self.online(self, node)
            self.kinds.append(message.metadata.message_type)
            if not there:
                lost = Message(Error(code=5, reason="Node Unavailable"), reply_to=message)
                self._replies[identifier] = lost
                continue
            # A station may take its request apart; `tamper` wants to see it whole.
            request = Message(content=copy.copy(message.content), metadata=message.metadata)
            try:
                answer = plant_keys().ask(client_app, request, self._contexts[node])
                reply = self.tamper(node, message, answer)
            except Exception as error:
                reason = f"{type(error)}:<'{error}'>"
                reply = Message(Error(code=2, reason=reason), reply_to=message)
            if reply is not None:
                self._replies[identifier] = reply
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        replies = self.pull_messages(self.push_messages(messages))
        return replies[::-1] if self.reverse else replies


@dataclass
class Finished:
    """A run folder, as others read it."""

    folder: Path
    grid: LocalGrid | None = None
    error: Exception | None = None
    run: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.run = json.loads((self.folder / "run.json").read_text())

    @property
    def bank(self) -> bytes:
        return (self.folder / "model" / "bank.safetensors").read_bytes()

    @property
    def model(self) -> dict[str, Any]:
        return json.loads((self.folder / "model" / "model.json").read_text())

    @property
    def contributions(self) -> dict[str, dict[str, Any]]:
        content = json.loads((self.folder / "contributions.json").read_text())
        return {station["name"]: station for station in content["stations"]}

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """metrics.json by category."""
        files = self.folder.glob("evaluation/metrics/*/*/metrics.json")
        return {path.parent.name: json.loads(path.read_text()) for path in files}

    @property
    def stations(self) -> dict[str, dict[str, Any]]:
        return {station["name"]: station for station in self.run["stations"]}

    @property
    def extracted(self) -> int:
        return sum(station["images_extracted"] for station in self.run["stations"])


def small_settings(data: Path, out: Path, **changes: Any) -> Settings:
    """A network and a bank that take milliseconds; `changes` in snake_case."""
    chosen: dict[str, Any] = {
        "data_root": str(data),
        "output_dir": str(out),
        "partition": "iid",
        "backbone": "resnet18",
        "weights": "random",
        "coreset_projection": 16,
        "global_bank_size": 200,
        "local_coreset_ratio": 0.5,
        "num_workers": 1,
        "device": "cpu",
    }
    return Settings(**{**chosen, **changes})


def simulated_nodes(stations: int) -> dict[int, dict[str, Any]]:
    """Node configs as a simulation gives them; node numbers run against station names."""
    return {
        1000 - number: {"partition-id": number, "num-partitions": stations}
        for number in range(stations)
    }


def run_local(
    settings: Settings,
    *,
    nodes: Mapping[int, Mapping[str, Any]] | None = None,
    tamper: Tamper = honest,
    reverse: bool = True,
    folder: Path | None = None,
    online: Online = always,
    members: Mapping[int, Mapping[str, Any]] | None = None,
) -> Finished:
    """One whole run in this process; `error` is what the ServerApp raised.

    `folder` is where the run is expected, if not in `output-dir`.
    """
    run_id = next(_run_ids)
    config = settings.to_run_config()
    nodes = simulated_nodes(settings.num_stations) if nodes is None else nodes
    models = (Path(settings.output_dir) if folder is None else folder).parent / "models"
    nodes = {
        node: {"models-dir": str(models / str(one["station"])), **one} if "station" in one else one
        for node, one in nodes.items()
    }
    grid = LocalGrid(nodes, config, run_id, tamper, reverse, online, members)
    error: Exception | None = None
    try:
        server_app(grid=grid, context=Context(run_id, 0, {}, RecordDict(), config))
    except Exception as raised:
        error = raised
    where = Path(settings.output_dir) if folder is None else folder / str(run_id)
    if not (where / "run.json").is_file() and error is not None:
        raise error
    return Finished(where, grid, error)
