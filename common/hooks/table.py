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
_CONTROL_USE: Final = "to list, register and remove stations"
CONTROL_CLIENT: Final = _flower(
    "supercore.control.control_http_client.ControlHttpClient",
    _CONTROL_USE,
    *("from_server_address", "ListNodes", "RegisterNode", "UnregisterNode"),
)
CONTROL_VERSION: Final = _flower(
    "supercore.interceptors.http.runtime_version.RuntimeVersionHttpInterceptor", _CONTROL_USE
)
LIST_NODES: Final = _flower("proto.control_pb2.ListNodesRequest", _CONTROL_USE)
REGISTER_NODE: Final = _flower("proto.control_pb2.RegisterNodeRequest", _CONTROL_USE)
UNREGISTER_NODE: Final = _flower("proto.control_pb2.UnregisterNodeRequest", _CONTROL_USE)

HTTP_PROTOCOL: Final = Hook(
    "uvicorn",
    "uvicorn.protocols.http.h11_impl.H11Protocol",
    "0.49.0",
    "0.49.0",
    "the gateway's bounds on connections",
    needs=("handle_events", "on_response_complete", "_should_upgrade"),
)

_LOOP: Final = "a plain loop takes their place, slower"
CODE_HELPERS: Final = _numba("cgutils", _LOOP, "alloca_once", "for_range_slice")
CODE_CONTEXT: Final = _numba("base.BaseContext", _LOOP, "make_array", "get_dummy_value")

TABLE: Final = tuple(value for value in list(globals().values()) if isinstance(value, Hook))
