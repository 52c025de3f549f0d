"""Reading an autograd graph: which leaves a tensor depends on, and through which operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

Node = Any
"""An operation of the graph, as ``tensor.grad_fn``; torch gives it no public type."""

M = TypeVar("M")


class Reach(NamedTuple):
    """What a graph leads to.

    Attributes:
        leaves: Leaf tensors that ask for a gradient, by id: parameters, and what was handed on as a leaf.
        operations: The operations on the way, by id; leaves are none.
    """

    leaves: dict[int, Tensor]
    operations: dict[int, Node]


def reach(nodes: Iterable[Node]) -> Reach:
    """All that some operations lead back to."""
    found = Reach({}, {})
    stack = [node for node in nodes if node is not None]
    while stack:
        node = stack.pop()
        leaf = _leaf(node)
        if leaf is not None:
            found.leaves[id(leaf)] = leaf
        elif id(node) not in found.operations:
            found.operations[id(node)] = node  # kept, so that the id stays its own
            stack += _inputs(node)
    return found


class Summary(NamedTuple):
    """What one operation depends on: marked leaves, and parameters by id."""

    marks: frozenset[Any]
    parameters: Mapping[int, Tensor]


def summaries(nodes: Iterable[Node], marks: Mapping[int, M]) -> list[Summary]:
    """What each of some operations depends on; what they share is read once.

    Args:
        nodes: The operations.
        marks: Leaves to look out for, by id, and what to call them.
    """
    known: dict[int, tuple[Node, frozenset[M], frozenset[int]]] = {}
    parameters: dict[int, Tensor] = {}
    nodes = list(nodes)
    stack = [(node, False) for node in nodes]
    while stack:
        node, inputs_known = stack.pop()
        if id(node) in known:
            continue
        leaf = _leaf(node)
        if leaf is not None:
            own = frozenset([marks[id(leaf)]]) if id(leaf) in marks else frozenset()
            is_parameter = isinstance(leaf, nn.Parameter)
            if is_parameter:
                parameters[id(leaf)] = leaf
            known[id(node)] = node, own, frozenset([id(leaf)] if is_parameter else [])
        elif inputs_known:
            parts = [known[id(above)] for above in _inputs(node)]
            known[id(node)] = node, _union([part[1] for part in parts]), _union([part[2] for part in parts])
        else:
            stack += [(node, True), *((above, False) for above in _inputs(node))]
    found = [known[id(node)] for node in nodes]
    return [Summary(own, {key: parameters[key] for key in reached}) for _, own, reached in found]


def _union(sets: Sequence[frozenset[M]]) -> frozenset[M]:
    """All that some sets hold; where one of them is that already, as nearly everywhere in a graph, no new set."""
    largest = max(sets, key=len, default=frozenset())
    return largest if all(each is largest or each <= largest for each in sets) else frozenset().union(*sets)


def terms(loss: Tensor) -> list[Node]:
    """The summands of a scalar loss, each the operation that computes one.

    Whatever combines scalars alone is looked through, so that a penalty on a weight is a term of its own.
    """
    found: list[Node] = []
    stack = [] if loss.grad_fn is None else [loss.grad_fn]
    while stack:
        node = stack.pop()
        inputs = _inputs(node)
        if inputs and all(_is_scalar(above) or _stacks_scalars(above) for above in inputs):
            stack += inputs
        else:
            found.append(node)
    return found


def _inputs(node: Node) -> list[Node]:
    return [above for above, _ in node.next_functions if above is not None]


def _is_scalar(node: Node) -> bool:
    return all(not metadata.shape for metadata in node._input_metadata)


def _stacks_scalars(node: Node) -> bool:
    return node.name() == "StackBackward0" and all(_is_scalar(above) for above in _inputs(node))


def _leaf(node: Node) -> Tensor | None:
    """The leaf tensor whose gradient ends here; None for an operation."""
    return node.variable if node.name().endswith("AccumulateGrad") else None
