"""Which layers feed which, which are hidden, which are outputs, and that no error can travel between them.

In the first sequence every layer hands on leaves of its own, so the graph of each ends where the one before it begins.
Reading these graphs once shows where the loss comes from and whose weights it would reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from snntorch_brp.attachment.record import LayerRecord
from snntorch_brp.runtime.graph import Reach, Summary, reach, summaries, terms


class Structure:
    """Which layers of a network are hidden and which are outputs, from one sequence to the next.

    Args:
        net: The network.
        layers: Its spiking layers.
        outputs: Those that were named as outputs.
        known: There is nothing to find out: the outputs were named, be they these or readouts that do not spike.
    """

    def __init__(
        self, net: nn.Module, layers: Sequence[LayerRecord], outputs: Sequence[LayerRecord], *, known: bool
    ) -> None:
        self.outputs = list(outputs)
        self.known = known
        self._net, self._layers = net, layers
        self._owner: dict[int, str] = {}  # hidden layers by the ids of their parameters
        self._trainable: list[bool] | None = None  # which parameters asked for a gradient when that was found out

    def check(self, loss: Tensor | None, last: LayerRecord | None) -> list[LayerRecord]:
        """Check that a loss reaches no hidden weights; gives the outputs, found out where they are not known.

        Args:
            loss: The loss of the sequence that has run, if there is one.
            last: The layer that was called last; None where none has a graph.

        Raises:
            RuntimeError: If it does reach some, or if there is no hidden layer.
        """
        terms = LossTerms(loss, self._layers)
        trainable = [p.requires_grad for p in self._net.parameters()]
        outputs, graphs = self.outputs, {}
        if trainable != self._trainable or not self.known:
            graphs = {layer: reach(tensor.grad_fn for tensor in layer.emitted) for layer in self._layers if layer.steps}
            outputs = self.outputs if self.known or loss is None else find_outputs(terms, graphs, last)
            self._owner = owners({layer: graph for layer, graph in graphs.items() if layer not in outputs})
            self._trainable = trainable
        hidden = [layer for layer in self._layers if layer not in outputs]
        if not hidden:
            raise RuntimeError(
                f"{type(self._net).__name__} has no hidden spiking layer, since the loss sees all of them: a local "
                "rule has nothing to train, and loss.backward() does the rest"
            )
        check_hidden_unseen(terms, hidden)
        check_parameters(terms, {layer: graphs[layer] for layer in outputs if layer in graphs}, self._owner)
        return outputs

    def settle(self, outputs: Sequence[LayerRecord], *, known: bool) -> None:
        """Remember the outputs once their sequence has been learned from."""
        self.outputs, self.known = list(outputs), self.known or known

    def hidden_parameters(self) -> dict[str, Tensor]:
        """The parameters of hidden layers, by name."""
        return {name: p for name, p in self._net.named_parameters() if id(p) in self._owner}


class LossTerms:
    """What each summand of a loss depends on.

    Attributes:
        direct: Layers that a summand sees as they are.
        read_out: Layers that a summand sees through parameters behind them.
        parameters: All parameters that the loss reaches, by id.
    """

    def __init__(self, loss: Tensor | None, layers: Sequence[LayerRecord]) -> None:
        owner = {id(leaf): layer for layer in layers for _, leaf in layer.cuts}
        self.direct: set[LayerRecord] = set()
        self.read_out: set[LayerRecord] = set()
        self.parameters: dict[int, Tensor] = {}
        found: Summary
        for found in summaries([] if loss is None else terms(loss), owner):
            (self.read_out if found.parameters else self.direct).update(found.marks)
            self.parameters.update(found.parameters)


def find_outputs(terms: LossTerms, graphs: Mapping[LayerRecord, Reach], last: LayerRecord | None) -> list[LayerRecord]:
    """The output layers: those that the loss sees as they are and that feed no other layer.

    Args:
        terms: What the loss depends on.
        graphs: What each layer depends on.
        last: The layer that was called last.

    Returns:
        The output layers, the one called last first; none where the output is a readout that does not spike.

    Raises:
        RuntimeError: If the loss sees a hidden layer, too.
    """
    leaves = {id(leaf): layer for layer in graphs for _, leaf in layer.cuts}
    feeding = {
        leaves[leaf] for layer, graph in graphs.items() for leaf in graph.leaves if leaves.get(leaf, layer) is not layer
    }
    hidden = terms.direct & (feeding | terms.read_out)
    if hidden:
        raise RuntimeError(_seen(hidden))
    outputs = [layer for layer in graphs if layer in terms.direct]
    return sorted(outputs, key=lambda layer: layer is not last)


def check_hidden_unseen(terms: LossTerms, hidden: Sequence[LayerRecord]) -> None:
    """Check that the loss does not see a hidden layer as it is.

    Raises:
        RuntimeError: If it does; the message names the layer.
    """
    if seen := terms.direct & set(hidden):
        raise RuntimeError(_seen(seen))


def _seen(layers: set[LayerRecord]) -> str:
    names = ", ".join(sorted(f"'{layer.name}'" for layer in layers))
    return (
        f"the loss depends on the spikes or states of {names}, hidden layers that learn from the local rule alone: "
        f"take that term out of the loss, or name all outputs, attach(..., output=({names}, ...))"
    )


def owners(graphs: Mapping[LayerRecord, Reach]) -> dict[int, str]:
    """The names of the hidden layers whose parameters are which, by the parameters' ids.

    Raises:
        RuntimeError: If a gradient could go from one hidden layer to another that feeds it, past the neurons between
            them; the message names both.
    """
    fed_by = _fed_by(graphs)
    for layer, graph in graphs.items():
        for before in fed_by[layer]:
            shared = graph.operations.keys() & graphs[before].operations.keys()
            below = reach(graph.operations[key] for key in shared).leaves.values()
            if any(isinstance(leaf, nn.Parameter) for leaf in below):
                raise RuntimeError(
                    f"the current that enters layer '{before.name}' also goes past it to layer '{layer.name}', which "
                    f"'{before.name}' feeds: the weights of '{before.name}' would learn from a layer behind them. Cut "
                    "the shortcut with .detach(), or take it from the spikes"
                )
    return {
        key: layer.name
        for layer, graph in graphs.items()
        for key, leaf in graph.leaves.items()
        if isinstance(leaf, nn.Parameter)
    }


def _fed_by(graphs: Mapping[LayerRecord, Reach]) -> dict[LayerRecord, set[LayerRecord]]:
    """All layers that feed a layer, also by way of others."""
    leaves = {id(leaf): layer for layer in graphs for _, leaf in layer.cuts}
    found = {
        layer: {leaves[leaf] for leaf in graph.leaves if leaf in leaves} - {layer} for layer, graph in graphs.items()
    }
    for middle in graphs:  # Warshall's closure
        for layer in graphs:
            if middle in found[layer]:
                found[layer] |= found[middle] - {layer}
    return found


def check_parameters(terms: LossTerms, outputs: Mapping[LayerRecord, Reach], owner: Mapping[int, str]) -> None:
    """Check that neither the loss nor an output layer reaches a hidden layer's parameters.

    Raises:
        RuntimeError: If one does; the message names the layer.
    """
    reached = set(terms.parameters).union(*(graph.leaves for graph in outputs.values()))
    if names := sorted({owner[key] for key in reached if key in owner}):
        raise RuntimeError(
            f"the loss reaches the weights of hidden layer '{names[0]}' past its neurons (by a shortcut around them, a "
            "penalty, or weights that the output shares): cut the shortcut with .detach(), use the optimizer's "
            "weight_decay, or give the output weights of its own"
        )
