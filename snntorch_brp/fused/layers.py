"""What a sequential network is made of, and whether the fused engine computes exactly what it does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import is_

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import module as torch_module

from snntorch_brp.fused import conv_synapse, linear_synapse  # noqa: F401  (they make themselves known)
from snntorch_brp.fused.autograd_synapse import AutogradSynapse
from snntorch_brp.fused.dynamics import Dynamics, dynamics_of, unsupported_reason
from snntorch_brp.fused.readout import Readout
from snntorch_brp.fused.scan import state_dtype
from snntorch_brp.fused.synapse import Synapse, known_modules, stateless, synapse_of
from snntorch_brp.neurons import is_spiking

_GLOBAL_HOOKS = {
    name: hooks
    for name, hooks in vars(torch_module).items()
    if name.startswith("_global_") and name.endswith("_hooks") and isinstance(hooks, dict)
}


class NotFusible(ValueError):
    """The fused engine cannot run a network; the message names what is in the way."""


def declined(reason: NotFusible) -> str:
    """What a user is told whose network is left to attach."""
    return (
        "attach runs the network step by step, in about the time and memory of backpropagation through time, and not "
        f"the fused engine, which is several times faster: {reason}"
    )


@dataclass(frozen=True)
class Layer:
    """One layer of neurons and the modules that lead to it.

    Attributes:
        name: The neuron's name in its network; of a readout that does not spike, that of its last module.
        neuron: The neuron; an ``nn.Identity`` behind a readout.
        synapse: All modules between the last neuron and this one.
        by_autograd: The same for true backpropagation, which wants the gradient of the input too.
        shows_membrane: Its membrane is returned, beside its spikes.
    """

    name: str
    neuron: nn.Module
    synapse: Synapse
    by_autograd: AutogradSynapse
    shows_membrane: bool = False

    @property
    def spikes(self) -> bool:
        """Whether there are neurons, and not a readout that gives its currents as they are."""
        return is_spiking(self.neuron)

    def dynamics(self, like: Tensor) -> Dynamics:
        """What the neurons do, in the dtype of the currents ``like``."""
        return dynamics_of(self.neuron, like) if self.spikes else Readout()

    @property
    def learns(self) -> bool:
        """Whether any parameter is to be trained."""
        return self.synapse.learns or any(p.requires_grad for p in self.neuron.parameters())


def plan(net: nn.Module) -> list[Layer]:
    """The layers of a network that the fused engine can run.

    Args:
        net: An ``nn.Sequential``, which may hold others, of neurons that keep their own state (``init_hidden=True``)
            and stateless modules between them; what follows the last neuron is a readout that does not spike.

    Returns:
        At least two layers, the output last.

    Raises:
        NotFusible: If the network does not qualify; the message names the module in the way.

    Example:
        >>> [layer.name for layer in plan(mlp([784, 100, 10]))]
        ['fc1_lif', 'fc2_lif']
    """
    check_network(net)
    layers = layered(list(_leaves(net, "")), dtype_of(net))
    for layer in layers:
        if layer.spikes and not layer.neuron.init_hidden:
            raise NotFusible(f"'{layer.name}' does not keep its own state: make it with init_hidden=True")
    for layer in layers[:-1]:
        if layer.shows_membrane:
            raise NotFusible(f"'{layer.name}' returns its membrane too (output=True), and only the last neuron may")
    return layers


def layered(modules: Sequence[tuple[str, nn.Module]], dtype: torch.dtype) -> list[Layer]:
    """The layers that modules make, in the order in which they run.

    Args:
        modules: Neurons and stateless modules, by name.
        dtype: The network's.

    Raises:
        NotFusible: If they do not qualify.
    """
    layers: list[Layer] = []
    between: list[nn.Module] = []
    seen: set[nn.Module] = set()
    for name, module in modules:
        if module in seen and (is_spiking(module) or list(module.parameters())):
            raise NotFusible(f"'{name}' is used twice: each place in the network needs a module of its own")
        seen.add(module)
        if isinstance(module, nn.Flatten) and module.start_dim != 1:
            raise NotFusible(f"'{name}' flattens from dimension {module.start_dim}, and not from 1")
        if is_spiking(module):
            reason = unsupported_reason(module, state_dtype(dtype))
            if reason is not None:
                raise NotFusible(f"'{name}' {reason}")
            layers.append(_layer(name, module, between, behind_neuron=bool(layers)))
            between = []
        else:
            between.append(module)
    if any(not isinstance(module, nn.Identity) for module in between):
        layers.append(_readout(modules[-1][0], between, layers))
    if len(layers) < 2:
        raise NotFusible(f"the network has {len(layers)} spiking layers, and a local rule needs at least two")
    return layers


def _readout(name: str, modules: Sequence[nn.Module], layers: Sequence[Layer]) -> Layer:
    """What follows the last neuron, where the loss sees that neuron through weights alone."""
    if not any(list(module.parameters()) for module in modules):
        raise NotFusible(
            f"{type(modules[0]).__name__} follows the last neuron '{layers[-1].name}', which must be the output"
            if layers
            else "the network has no spiking layer"
        )
    return _layer(name, nn.Identity(), modules, behind_neuron=bool(layers))


def _layer(name: str, neuron: nn.Module, between: Sequence[nn.Module], *, behind_neuron: bool) -> Layer:
    by_autograd = AutogradSynapse(between, behind_neuron=behind_neuron)
    synapse = synapse_of(between, behind_neuron=behind_neuron)
    shows = bool(getattr(neuron, "output", False))
    return Layer(name, neuron, by_autograd if synapse is None else synapse, by_autograd, shows_membrane=shows)


def dtype_of(net: nn.Module) -> torch.dtype:
    """The one dtype of all weights and constants.

    Raises:
        NotFusible: If there are several.
    """
    states = {
        f"{name}.{key}".lstrip(".")
        for name, module in net.named_modules()
        for key in module._non_persistent_buffers_set
    }
    tensors = [*net.named_parameters(), *((name, buffer) for name, buffer in net.named_buffers() if name not in states)]
    first = next((tensor for _, tensor in tensors if tensor.is_floating_point()), None)
    dtype = torch.float32 if first is None else first.dtype
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.dtype is not dtype:
            raise NotFusible(f"'{name}' is {tensor.dtype} among {dtype}, and the fused engine takes one dtype")
    return dtype


def check_network(net: nn.Module) -> None:
    """See that no hooks are for all modules, and that weights are used once and are plain.

    Raises:
        NotFusible: If not; the message says what is in the way.
    """
    for name, hooks in _GLOBAL_HOOKS.items():
        if hooks:
            raise NotFusible(f"there are hooks for all modules ({name[1:]}), which the fused engine would not call")
    if len(list(net.named_parameters(remove_duplicate=False))) != len(list(net.parameters())):
        raise NotFusible("a weight is used at several places, and the fused engine gives each layer its own")
    for name, p in net.named_parameters():
        if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
            raise NotFusible(f"'{name}' carries hooks, which the fused engine would not call")
        if type(p) is not nn.Parameter:
            raise NotFusible(f"'{name}' is a {type(p).__name__}, not a plain parameter")


def check_untouched(module: nn.Module, shown: str) -> None:
    """See that a module does what its class does, and no more.

    Raises:
        NotFusible: If it carries hooks or methods of its own.
    """
    if type(module).__call__ is not nn.Module.__call__:
        raise NotFusible(f"{shown} has a __call__ of its own, which the fused engine would not call")
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise NotFusible(f"{shown} carries hooks, which the fused engine would not call")
    replaced = [key for key in vars(module) if callable(getattr(type(module), key, None))]
    if replaced:
        raise NotFusible(f"{shown} has a {replaced[0]} of its own, which the fused engine would not call")


def _leaves(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a network that are no containers, by name, in the order in which they run."""
    shown = f"'{name or type(module).__name__}'"
    check_untouched(module, shown)
    if type(module) is nn.Sequential:
        for key, child in module._modules.items():  # named_children() would skip repeats
            if child is None:
                raise NotFusible(f"{shown} holds nothing at '{key}'")
            yield from _leaves(child, f"{name}.{key}" if name else key)
        return
    if not is_spiking(module) and type(module) not in known_modules():
        raise NotFusible(
            f"'{name or 'the network'}' is a {type(module).__name__}; the fused engine runs nn.Sequential of leaky "
            f"neurons and {', '.join(known.__name__ for known in known_modules())}"
        )
    yield name, module


def neuron_shapes(layers: Sequence[Layer], sample_shape: Sequence[int], dtype: torch.dtype) -> list[tuple[int, ...]]:
    """Shape of each layer's neurons for one sample, worked out without computing anything.

    Raises:
        NotFusible: If a sample of ``sample_shape`` does not fit into the network; the message names the layer.
    """
    z = torch.empty(_SAMPLES, *sample_shape, dtype=dtype, device="meta")
    shapes = []
    for layer in layers:
        try:
            for module in layer.synapse.modules:
                z = z if stateless(module).keeps_shape and _fits(z, module) else _shaped(z, module)
            named = (getattr(layer.neuron, name, None) for name in _CONSTANTS)
            constants = [constant.shape for constant in named if isinstance(constant, Tensor)]
            if torch.broadcast_shapes(z.shape[1:], *constants) != z.shape[1:]:
                raise ValueError(f"its constants do not fit neurons of shape {tuple(z.shape[1:])}")
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise NotFusible(
                f"an input of shape {tuple(sample_shape)} does not fit layer '{layer.name}': {error}"
            ) from error
        shapes.append(tuple(z.shape[1:]))
    return shapes


_CONSTANTS = ("alpha", "beta", "threshold", "adaptation", "rho")  # of neurons
_SAMPLES = 97  # a size that a layer hardly has, to be told from one


def _shaped(z: Tensor, module: nn.Module) -> Tensor:
    tensors = {name: _meta(tensor) for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    out = functional_call(module, tensors, (z,))
    if not isinstance(out, Tensor) or len(out) != len(z):
        raise ValueError(f"{module} does not map samples to samples")
    return out


def _fits(z: Tensor, module: nn.Module) -> bool:
    """Whether a module that keeps the shape of its input takes this one."""
    features = getattr(module, "num_features", None) or len(getattr(module, "mean", ()))
    if features and (z.dim() < 2 or z.shape[1] != features):
        raise ValueError(f"{module} takes {features} features, but gets {tuple(z.shape[1:])}")
    check = getattr(module, "_check_input_dim", None)
    if check is not None:
        check(z)
    return True


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


_CONTAINERS = frozenset({dict, OrderedDict, set})
_STATES = (Tensor, tuple)


@dataclass(frozen=True)
class Signature:
    """What the plan of a network depends on: all but the values of its tensors and the states of its neurons.

    It is taken before every step, so it is kept as two flat lists that compare without a call of Python's own.

    Attributes:
        same: Modules' attributes, parameters and what lies in their dictionaries: none may be replaced.
        equal: Numbers of hooks, and dtypes, devices and shapes, which a tensor may change without being replaced.
    """

    same: list[object]
    equal: list[object]

    @classmethod
    def of(cls, net: nn.Module) -> Signature:
        """The signature of a network as it is now."""
        same: list[object] = []
        equal: list[object] = [len(hooks) for hooks in _GLOBAL_HOOKS.values()]
        for module in net.modules():
            held = vars(module)
            same.append(type(module))
            # The states of neurons are tensors, and tuples of them.
            same += [v for v in held.values() if not isinstance(v, _STATES)] if is_spiking(module) else held.values()
            for name, value in held.items():
                if value.__class__ not in _CONTAINERS or not value:
                    continue
                if name == "_parameters":
                    for p in value.values():
                        if p is not None:
                            same += (p, type(p))
                            equal += (p.dtype, p.device, p.requires_grad, _hooks_on(p))
                elif name == "_buffers":
                    states = module._non_persistent_buffers_set
                    equal += [
                        (key, b.dtype, b.device, b.shape)
                        for key, b in value.items()
                        if b is not None and key not in states
                    ]
                else:
                    same += value if value.__class__ is set else value.values()
        return cls(same, equal)

    def holds(self, now: Signature) -> bool:
        """Whether nothing has changed since this signature was taken."""
        return self.equal == now.equal and len(self.same) == len(now.same) and all(map(is_, self.same, now.same))


def _hooks_on(p: nn.Parameter) -> int:
    later = getattr(p, "_post_accumulate_grad_hooks", None)
    return len(p._backward_hooks or ()) + len(later or ())
