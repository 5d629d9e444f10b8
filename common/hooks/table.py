"""The table: every private name of another library that this program uses.

Private is what begins with an underscore, and what its makers neither export nor document. Nothing
else in the program spells such a name out; a test reads the sources and holds that. A new entry
needs a version range in which the tests were green, and a case of the test that removes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Hook:
    """One private name.

    Attributes
    ----------
    library : str
        As pip calls it.
    name : str
        Dotted, from the top module on. What comes after a colon is an attribute of an instance.
    first, last : str
        Versions of the library that it was tested with.
    use : str
        What for.
    without : str
        What happens where it is missing; empty if nothing works without it.
    needs : tuple of str
        Attributes that it must have.
    """

    library: str
    name: str
    first: str
    last: str
    use: str
    without: str = ""
    needs: tuple[str, ...] = ()


def _torch(name: str, use: str, without: str) -> Hook:
    return Hook("torch", f"torch.ops.mkldnn.{name}", "2.13.0", "2.14.1", use, without)


def _flower(name: str, use: str, *needs: str) -> Hook:
    return Hook("flwr", f"flwr.{name}", "1.41.0", "1.41.0", use, needs=needs)


def _numba(name: str, without: str, *needs: str) -> Hook:
    use = "vector instructions in compiled loops"
    return Hook("numba", f"numba.core.{name}", "0.68.1", "0.68.1", use, without, needs)


_MODULES: Final = "torch's own modules compute the features, slower"
_PLAIN: Final = "plain products in float32 take their place, slower"

CONVOLUTION: Final = _torch("_convolution_pointwise", "fused convolutions on a CPU", _MODULES)
CONVOLUTION_ORDER: Final = _torch(
    "_reorder_convolution_weight", "weights in the order of fused convolutions", _MODULES
)
WEIGHT_LAYOUT: Final = _torch(
    "_get_mkldnn_serialized_md",
    "to keep filters of one order once",
    "they are kept once for each size of image, in more memory",
)
BFLOAT16: Final = _torch(
    "_is_mkldnn_bf16_supported",
    "to know whether oneDNN computes in bfloat16",
    f"it is taken not to: {_PLAIN}",
)
PRODUCT: Final = _torch("_linear_pointwise", "products for selection and search", _PLAIN)
PRODUCT_ORDER: Final = _torch(
    "_reorder_linear_weight", "vectors in the order of those products", _PLAIN
)

HTTP_GRID: Final = _flower("superlink.grid.HttpGrid", "to tell a plant's run from a simulation's")
RETRIES: Final = _flower(
    "superlink.grid.HttpGrid:_retry_invoker",
    "to ask a busy SuperLink again",
    "should_giveup",
)
ACTIVATE: Final = Hook(
    "flwr",
    "flwr.proto.fleet_pb2.ActivateNodeRequest",
    "1.41.0",
    "1.41.0",
    "to ask whether the server knows a station's key",
    "whether the server knows this station shows only when it starts",
)
_CONTROL_USE: Final = "to list, register and remove stations, and to stop runs"
CONTROL_CLIENT: Final = _flower(
    "supercore.control.control_http_client.ControlHttpClient",
    _CONTROL_USE,
    *("from_server_address", "ListNodes", "RegisterNode", "UnregisterNode", "ListRuns", "StopRun"),
)
CONTROL_VERSION: Final = _flower(
    "supercore.interceptors.http.runtime_version.RuntimeVersionHttpInterceptor", _CONTROL_USE
)
LIST_NODES: Final = _flower("proto.control_pb2.ListNodesRequest", _CONTROL_USE)
REGISTER_NODE: Final = _flower("proto.control_pb2.RegisterNodeRequest", _CONTROL_USE)
UNREGISTER_NODE: Final = _flower("proto.control_pb2.UnregisterNodeRequest", _CONTROL_USE)
LIST_RUNS: Final = _flower("proto.control_pb2.ListRunsRequest", _CONTROL_USE)
STOP_RUN: Final = _flower("proto.control_pb2.StopRunRequest", _CONTROL_USE)

PACK_APP: Final = _flower("cli.build.build_fab_from_files", "to know which app is installed here")
_TRUST_USE: Final = "to take only apps that a station trusts"
SUPERNODE: Final = _flower("supernode.cli.flower_supernode", _TRUST_USE)
SUPERNODE_LOOP: Final = _flower("supernode.start_client_internal.start_client_internal", _TRUST_USE)
SUPERNODE_CALLS: Final = _flower("supernode.start_client_internal._init_connection", _TRUST_USE)
SUPERNODE_REFUSAL: Final = _flower(
    "supernode.start_client_internal.FAB_VERIFICATION_ERROR", _TRUST_USE
)
_STRIP_USE: Final = "to take paths out of the errors that Flower tells the server"
SUPERNODE_MESSAGE: Final = _flower(
    "supernode.start_client_internal.Message", _STRIP_USE, "object_id", "deflate"
)
SUPERNODE_TREE: Final = _flower("supernode.start_client_internal.ObjectTree", _STRIP_USE)
_START_USE: Final = "to let a ClientApp take its time to start"
TASK_CLAIMED: Final = _flower(
    "supercore.corestate.in_memory_corestate.InMemoryCoreState.claim_task", _START_USE
)
TASK_SECONDS: Final = _flower(
    "supercore.corestate.in_memory_corestate.HEARTBEAT_DEFAULT_INTERVAL", _START_USE
)
TASK_PATIENCE: Final = _flower(
    "supercore.corestate.in_memory_corestate.HEARTBEAT_PATIENCE", _START_USE
)
_SERVER_TRUST_USE: Final = "to run only apps that the server trusts"
SUPEREXEC: Final = _flower("supercore.cli.flower_superexec", _SERVER_TRUST_USE)
SUPEREXEC_LOOP: Final = _flower(
    "supercore.superexec.run_superexec.run_superexec", _SERVER_TRUST_USE
)
SUPEREXEC_STARTS: Final = _flower(
    "supercore.superexec.run_superexec.get_executor", _SERVER_TRUST_USE
)
LAUNCHED: Final = _flower(
    "supercore.superexec.executor.LaunchResult", _SERVER_TRUST_USE, "accepted", "failed"
)
SERVERAPP: Final = _flower("superlink.cli.flwr_serverapp", _SERVER_TRUST_USE)
SERVERAPP_RUN: Final = _flower("superlink.runtime.run_serverapp", _SERVER_TRUST_USE)
UNPACK_APP: Final = _flower("cli.install.install_from_fab", _SERVER_TRUST_USE)
TASK: Final = _flower("supercore.task_identity.TaskIdentity", _SERVER_TRUST_USE, "_run_id")

_DATABASE_USE: Final = "to let calls wait for the SuperLink's database"
SUPERLINK: Final = _flower("superlink.cli.flower_superlink", _DATABASE_USE)
DATABASE_CHOICES: Final = _flower("supercore.constant.SQLITE_PRAGMAS", _DATABASE_USE)
DATABASE_OPENED: Final = _flower("supercore.sql_mixin._set_sqlite_pragmas", _DATABASE_USE)

_LOOP: Final = "a plain loop takes their place, slower"
CODE_HELPERS: Final = _numba("cgutils", _LOOP, "alloca_once", "for_range_slice")
CODE_CONTEXT: Final = _numba("base.BaseContext", _LOOP, "make_array", "get_dummy_value")

TABLE: Final = tuple(value for value in list(globals().values()) if isinstance(value, Hook))
