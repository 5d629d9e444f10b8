"""What a registered station can do beyond its part: push messages of its own into the SuperLink.

Flower's own calls, with the key of a station that belongs to the plant. The SuperLink takes them:
it looks at the key, and at nothing that the message says of itself.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import push_objects
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from common.plant.keys.station_keys import read_station_key

SERVER = 1
"""The number that Flower gives the ServerApp."""


class Forger:
    """A connection to the SuperLink with a registered station's key."""

    def __init__(self, superlink: str, authority: Path, key: Path, node: int) -> None:
        private = read_station_key(key)
        self._node = Node(node_id=node)
        self._stack = ExitStack()
        self._client = self._stack.enter_context(
            FleetHttpClient.from_server_address(
                superlink,
                False,
                str(authority),
                interceptors=[
                    RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                    NodeAuthHttpInterceptor(private, private.public_key()),
                ],
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def push(self, content: RecordDict, kind: str, run: int, victim: int) -> None:
        """Put a message into a station's queue that says it comes from the server."""
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run, 1, SERVER
        message = Message(content, dst_node_id=victim, message_type=kind, ttl=600)
        message.metadata.__dict__["_message_id"] = message.object_id
        taken = self._client.PushMessages(
            PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
                clientapp_runtime_list=[0.0],
            )
        )
        push_objects(
            get_all_nested_objects(message),
            make_push_object_fn_protobuf(
                self._client.PushObject, self._node, run, taken.session_id
            ),
            object_ids_to_push=set(taken.objects_to_push),
        )
