"""Settings inside a checkpoint (argparse namespaces, omegaconf trees, enums, plain dicts) as plain Python values."""

from typing import Any

from speechssl.convert.pickle_reader import Stub
from speechssl.errors import CheckpointError

_MOST_VALUES = 200_000  # of a fairseq config: about a thousand
_DEEPEST = 60
_SCALARS = (bool, int, float, str)


def plain(node: Any) -> Any:
    """`node` with every known container class replaced by a dict or list; what is of no known class becomes None.

    omegaconf keeps a container's items in `_content` and a leaf's value in `_val`; its links to parents are not
    followed. An enum's member is pickled as a call of its class with its value, which is what it becomes.
    Raises CheckpointError for trees that no config is as large as.
    """
    return _plain(node, [_MOST_VALUES], _DEEPEST)


def _plain(node: Any, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        raise CheckpointError("the settings are nested too deeply or too large to be a model's")
    if isinstance(node, _SCALARS):
        return node
    if isinstance(node, dict):
        return {str(key): _plain(value, budget, depth - 1) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value, budget, depth - 1) for value in node]
    if isinstance(node, Stub):
        return _plain(_unwrapped(node), budget, depth - 1)
    return None


def _unwrapped(stub: Stub) -> Any:
    attributes = stub.attributes
    if "_content" in attributes:
        return attributes["_content"]
    if "_val" in attributes:
        return attributes["_val"]
    if stub.name == "Namespace" or attributes:
        return attributes  # argparse, dataclasses
    if stub.entries:
        return dict(stub.entries)
    return stub.args[0] if len(stub.args) == 1 and isinstance(stub.args[0], _SCALARS) else None
