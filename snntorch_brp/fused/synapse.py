"""What leads from one layer's spikes to the next layer's currents, for all steps at once: contract and registry.

A kind of layer has one class, made known by :func:`register_synapse`, also from outside this package; what no class
takes goes through autograd (:mod:`snntorch_brp.fused.autograd_synapse`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from snntorch_brp.standardize import Standardize
from snntorch_brp.weight_standardization import effective_weight


@dataclass
class Saved:
    """What the way back needs of one pass: the input and, where autograd takes it, the output with its graph."""

    source: Tensor
    weight: Tensor | None = None  # what the inputs were multiplied with, with its way back to the parameters
    current: Tensor | None = None
    by: Synapse | None = None  # who did the work, where one synapse has a choice of others


@dataclass(frozen=True)
class Request:
    """What is asked of a synapse beside its currents.

    Attributes:
        keep_for_backward: Keep what the way back needs.
        input_grad: The gradient will be wanted at the input too; only synapses that go through autograd know it.
        transient: The result may live in a shared buffer: it is overwritten by the next call of any synapse.
        bf16_terms: Precision of products with bfloat16 spikes, see :mod:`snntorch_brp.fused.matmul`.
        repeats: Number of steps that each step of the input stands for.
    """

    keep_for_backward: bool = True
    input_grad: bool = False
    transient: bool = False
    bf16_terms: int = 3
    repeats: int = 1


class Synapse(ABC):
    """All modules between two neurons, or between the input and the first.

    Args:
        modules: In the order in which they run.
        behind_neuron: A neuron comes before, and not the network's input.

    Attributes:
        modules: The modules.
        pool: Height and width of an average pooling that comes first, which the layer before does as it fires; (1, 1)
            for none.
        large_products: Its products gain from being large, more than its neurons from staying in cache.
        channels_last: It takes spikes of its own dtype best with channels last in memory.
        couples_samples: Samples see each other, so that a batch must come whole.
    """

    large_products: ClassVar[bool] = False
    channels_last: ClassVar[bool] = False

    def __init__(self, modules: Sequence[nn.Module], *, behind_neuron: bool) -> None:
        self.modules = nn.Sequential(*modules)
        self.behind_neuron = behind_neuron
        self.pool = (1, 1)

    @property
    def couples_samples(self) -> bool:  # noqa: D102
        return False

    @property
    def learns(self) -> bool:
        """Whether any parameter is to be trained."""
        return any(p.requires_grad for p in self.modules.parameters())

    @property
    def deterministic(self) -> bool:
        """Whether an input that stays the same from step to step gives currents that do."""
        return not any(stateless(module).random for module in self.modules)

    def receive(self, shape: Sequence[int]) -> None:  # noqa: B027  (most synapses need not know)
        """Be told the shape ``[*]`` of the neurons before: not all of them can pool what they send."""

    def leave_pooling(self, before: Sequence[nn.Module], shape: Sequence[int]) -> list[nn.Module]:
        """Leave an average pooling that comes first to neurons ``[*]`` with a height and a width: sets ``pool``.

        Args:
            before: The modules that the synapse would run itself.
            shape: That of the neurons before.

        Returns:
            Those of ``before`` that are left to run.
        """
        dimensions = 2 if before and isinstance(before[0], nn.AvgPool1d) else 3
        self.pool = first_pooling(before) if self.behind_neuron and len(shape) == dimensions else (1, 1)
        return list(before) if self.pool == (1, 1) else list(before[1:])

    def preferred_input(self, dtype: torch.dtype, bf16_terms: int) -> tuple[tuple[int, int], torch.dtype]:
        """How the spikes are best handed over: already pooled over which window, and in which dtype.

        Args:
            dtype: The network's.
            bf16_terms: Precision of products with bfloat16 spikes, see :mod:`snntorch_brp.fused.matmul`.
        """
        return self.pool, dtype

    def gather(self, x: Tensor, request: Request) -> Batch | None:
        """What samples must know of each other, from a whole batch; None where :meth:`forward` must have it whole."""
        return None

    @abstractmethod
    def forward(self, x: Tensor, request: Request) -> tuple[Tensor, Saved]:
        """Currents ``[T, B, *]`` from spikes ``[T, B, *]``, which may be views of sample-major memory.

        Args:
            x: Spikes, after the pooling ``pool``, in the network's dtype or as :meth:`preferred_input` has it.
            request: How they are wanted.

        Returns:
            The currents, which the caller may overwrite, and what :meth:`backward` needs.
        """

    @abstractmethod
    def backward(self, a: Tensor, saved: Saved) -> Tensor | None:
        """Add the weight changes of ``a = ∂L/∂I``, ``[T, B, *]``, to ``.grad``; gives ∂L/∂x where it was asked for."""


class Batch(Protocol):
    """What a synapse whose samples see each other makes of a batch, so that neurons may run some samples at a time."""

    def forward(self, rows: slice) -> tuple[Tensor, Saved]:
        """Currents of some samples, ``[T, b, *]``, as :meth:`Synapse.forward` gives them."""

    def backward(self, a: Tensor, saved: Saved) -> None:
        """Be told the gradient of these samples' currents."""

    def finish(self) -> None:
        """Once all samples have been through: add the weight changes to ``.grad``."""


Maker = Callable[[Sequence[nn.Module], bool], Synapse | None]
_MAKERS: dict[type[nn.Module], tuple[Maker, bool]] = {}


def register_synapse(module: type[nn.Module], *, norms: bool = False) -> Callable[[Maker], Maker]:
    """Let a class of synapses take all places whose only module with parameters is of a class of modules.

    What is decorated is called with the modules of such a place, in order, and whether a neuron comes before; it gives
    the synapse, or None where autograd had better do it.

    Args:
        module: The class of modules; its subclasses are not meant.
        norms: The synapses take batch norms, too, which have parameters and see a batch as a whole.

    Example:
        >>> @register_synapse(nn.Bilinear)
        ... def bilinear(modules, behind_neuron):
        ...     return None
    """

    def register(maker: Maker) -> Maker:
        _MAKERS[module] = maker, norms
        register_stateless(module)
        return maker

    return register


def synapse_of(modules: Sequence[nn.Module], *, behind_neuron: bool) -> Synapse | None:
    """A synapse of a registered class for these modules, or None."""
    norms = [module for module in modules if stateless(module).by_step]
    weighted = [module for module in modules if list(module.parameters()) and module not in norms]
    if len(weighted) != 1 or type(weighted[0]) not in _MAKERS:
        return None
    maker, takes_norms = _MAKERS[type(weighted[0])]
    return maker(modules, behind_neuron) if takes_norms or not norms else None


@dataclass(frozen=True)
class Stateless:
    """What the engine must know of a module that may stand between neurons.

    Attributes:
        random: It draws numbers.
        by_step: In training it looks at a batch as a whole, step by step.
        keeps_shape: Its output has the shape of its input.
        fresh: Its output is a tensor of its own that its backward pass does not look at.
    """

    random: bool = False
    by_step: bool = False
    keeps_shape: bool = False
    fresh: bool = False


_STATELESS: dict[type[nn.Module], Stateless] = {}


def register_stateless(module: type[nn.Module], **what: bool) -> None:
    """Let modules of a class stand between neurons: functions of one sample at one step, ``[B, *]`` to ``[B, *]``.

    They are run on all steps at once, with the steps as further samples.

    Args:
        module: The class; its subclasses are not meant.
        what: The attributes of :class:`Stateless` that are true.
    """
    _STATELESS[module] = Stateless(**what)


def stateless(module: nn.Module) -> Stateless:
    """What is known of a module between neurons.

    Raises:
        KeyError: If its class is not registered.
    """
    return _STATELESS[type(module)]


def known_modules() -> list[type[nn.Module]]:
    """The classes of modules that may stand between neurons."""
    return list(_STATELESS)


_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_BUILT_IN: dict[tuple[type[nn.Module], ...], Stateless] = {
    (nn.Flatten, nn.Identity): Stateless(),
    _AVERAGES: Stateless(fresh=True),
    _MAXIMA: Stateless(fresh=True),
    _DROPOUTS: Stateless(random=True, keeps_shape=True),
    _NORMS: Stateless(by_step=True, keeps_shape=True, fresh=True),
    (Standardize,): Stateless(keeps_shape=True),
}
_STATELESS |= {module: what for modules, what in _BUILT_IN.items() for module in modules}


def batched(x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """``[T, B, *]`` as ``[B T, *]`` and (B, T): sample-major, a view where the memory is."""
    T, B = x.shape[:2]
    return x.transpose(0, 1).flatten(0, 1), (B, T)


def unbatched(z: Tensor, B: int, T: int) -> Tensor:
    """``[B T, *]`` as ``[T, B, *]``."""
    return z.unflatten(0, (B, T)).transpose(0, 1)


def rounding(x: Tensor, bf16_terms: int) -> torch.autocast:
    """Products in bfloat16 inside the block, where they are asked for and PyTorch makes them: off the CPU."""
    return torch.autocast(x.device.type, torch.bfloat16, enabled=bf16_terms == 1 and x.device.type != "cpu")


def weight_with_its_way_back(synapse: nn.Module) -> Tensor:
    """What a synapse multiplies with, for :func:`accumulate`: small work, on the weights alone."""
    with torch.enable_grad():
        return effective_weight(synapse)


def accumulate(parameter: Tensor | None, gradient: Tensor | None) -> None:
    """Add a gradient to ``.grad`` of a parameter, if it is there and to be trained; the gradient is given away.

    What was made of parameters, such as a standardized weight, hands it on to them.
    """
    if parameter is None or gradient is None or not parameter.requires_grad:
        return
    gradient = gradient.to(parameter.dtype)
    if parameter.is_leaf:
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    else:
        parameter.backward(gradient)


def first_pooling(modules: Sequence[nn.Module]) -> tuple[int, int]:
    """Window of a plain average pooling that comes first, (1, 1) for any other module or none."""
    average = len(modules) > 0 and isinstance(modules[0], nn.AvgPool1d | nn.AvgPool2d)
    return plain_windows(modules[0]) if average else (1, 1)


def plain_windows(module: nn.Module) -> tuple[int, int]:
    """Windows of a pooling that has no overlap, gaps, padding or other specialities; (1, 1) for any other."""
    if not isinstance(module, nn.AvgPool1d | nn.AvgPool2d | nn.MaxPool1d | nn.MaxPool2d) or module.ceil_mode:
        return 1, 1
    flat = isinstance(module, nn.AvgPool1d | nn.MaxPool1d)
    size, stride = pair(module.kernel_size, flat), pair(module.stride, flat)
    values = [module.padding] if isinstance(module.padding, int) else list(module.padding)
    plain = (
        size == stride
        and not any(values)
        and getattr(module, "divisor_override", None) is None
        and not getattr(module, "return_indices", False)
        and pair(getattr(module, "dilation", 1), flat=False) == (1, 1)
    )
    return size if plain else (1, 1)


def pools(module: nn.Module) -> bool:
    """Whether a module is a plain maximum over windows."""
    return isinstance(module, nn.MaxPool1d | nn.MaxPool2d) and plain_windows(module) != (1, 1)


def pooled_spikes(z: Tensor, module: nn.Module) -> Tensor:
    """The maximum over windows of spikes ``[M, C, *]``: whether one of them fired."""
    window = plain_windows(module)[4 - z.dim() :]
    for dim, size in enumerate(window, start=2):
        whole = z.narrow(dim, 0, z.shape[dim] // size * size).unflatten(dim, (-1, size))
        z = whole.select(dim + 1, 0)
        for i in range(1, size):
            z = z | whole.select(dim + 1, i)
    return z


def pair(value: int | Sequence[int], flat: bool) -> tuple[int, int]:
    """Height and width, from any spelling that PyTorch takes: 2, (2,), [2], (2, 2)."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return (1, values[-1]) if flat else (values[0], values[-1])
