"""The paper's notation of networks: read, and built; :mod:`snntorch_brp.models` explains it."""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import nn

from snntorch_brp.weight_standardization import WSConv1d, WSConv2d, WSLinear

Neuron = Callable[[], nn.Module]


@dataclass(frozen=True)
class Conv:
    """``Conv5x5x28``, or in one dimension ``Conv1x5x28``."""

    kernel: int
    channels: int
    standardized: bool = False


@dataclass(frozen=True)
class Dense:
    """``FC1000``."""

    width: int
    standardized: bool = False


@dataclass(frozen=True)
class Pool:
    """``S2``, an average, or ``M2``, a maximum."""

    size: int
    maximum: bool = False


@dataclass(frozen=True)
class Norm:
    """``BN``: batch normalization."""


@dataclass(frozen=True)
class Standardized:
    """``WS``: weight standardization of the layer's own weights."""


@dataclass(frozen=True)
class Neurons:
    """``LIF``: where the neurons stand."""


Spec = Conv | Dense | Pool | Norm | Standardized | Neurons
_WORDS: dict[str, Spec] = {"bn": Norm(), "ws": Standardized(), "lif": Neurons()}


def read(part: str) -> Spec:
    """One part of a notation.

    Raises:
        ValueError: If it cannot be read.
    """
    word = part.lower()
    if word in _WORDS:
        return _WORDS[word]
    if match := re.fullmatch(r"conv(\d+)x(\d+)x(\d+)", word):
        height, kernel, channels = map(int, match.groups())
        if height in (1, kernel) and kernel and channels:
            return Conv(kernel, channels)
    elif (match := re.fullmatch(r"([sm])(\d+)", word)) and int(match[2]):
        return Pool(int(match[2]), maximum=match[1] == "m")
    elif (match := re.fullmatch(r"(?:fc)?(\d+)", word)) and int(match[1]):
        return Dense(int(match[1]))
    raise ValueError(
        f"cannot read layer {part!r}: write Conv5x5x28, FC1000, S2, M2, BN, WS or LIF, joined by dashes, none of size 0"
    )


def build(specs: Sequence[Spec], input_shape: Sequence[int], neuron: Neuron) -> nn.Sequential:
    """The network; the neurons of a layer stand before its first average pooling where the notation does not say.

    Raises:
        ValueError: If a layer does not fit the one before.
    """
    made = _Layers(tuple(input_shape), neuron)
    first = next((i for i, spec in enumerate(specs) if isinstance(spec, Conv | Dense)), len(specs))
    for spec in specs[:first]:
        made.add(spec)
    starts = [i for i, spec in enumerate(specs) if isinstance(spec, Conv | Dense)]
    for start, end in pairwise([*starts, len(specs)]):
        for spec in _completed(specs[start:end]):
            made.add(spec)
    if not starts or not isinstance(specs[starts[-1]], Dense):
        raise ValueError("a network ends with a fully connected layer of one neuron a class, such as FC10")
    return nn.Sequential(OrderedDict(made.modules))


def _completed(layer: Sequence[Spec]) -> list[Spec]:
    """A layer's synapse, its weights standardized where they are to be, and what follows, with its neurons."""
    synapse, rest = layer[0], layer[1:]
    assert isinstance(synapse, Conv | Dense)
    layer = [
        replace(synapse, standardized=Standardized() in rest),
        *(spec for spec in rest if not isinstance(spec, Standardized)),
    ]
    if layer.count(Neurons()) > 1:
        raise ValueError(f"{layer[0]} has neurons twice: write LIF once behind it, or not at all")
    if Neurons() in layer:
        return list(layer)
    place = next((i for i, s in enumerate(layer) if isinstance(s, Pool) and not s.maximum), len(layer))
    return [*layer[:place], Neurons(), *layer[place:]]


class _Layers:
    """Modules by name, and the shape of what the last of them gives."""

    def __init__(self, shape: tuple[int, ...], neuron: Neuron) -> None:
        self.shape, self.neuron = shape, neuron
        self.modules: dict[str, nn.Module] = {}
        self._counts = Counter[type]()
        self._layer = ""  # name of the last synapse

    def add(self, spec: Spec) -> None:
        """Put what ``spec`` stands for behind the rest."""
        self._counts[type(spec)] += 1
        match spec:
            case Conv():
                self._conv(spec)
            case Dense():
                self._dense(spec)
            case Pool():
                self._pool(spec)
            case Norm():
                self._put(f"{self._layer}_bn", self._of_shape(nn.BatchNorm1d, nn.BatchNorm2d)(self.shape[0]), spec)
            case Standardized():  # in front of all synapses, where _put refuses it
                self._put("", nn.Identity(), spec)
            case Neurons():
                self._put(f"{self._layer}_lif", self.neuron(), spec)
        if 0 in self.shape:
            raise ValueError(f"nothing is left behind {spec}: the picture is smaller than that")

    def _put(self, name: str, module: nn.Module, spec: Spec) -> None:
        if not self._layer and not isinstance(spec, Pool):
            raise ValueError(f"{spec} must stand behind a convolution or a fully connected layer")
        if name in self.modules:
            raise ValueError(f"'{name}' stands twice in one layer")
        self.modules[name] = module

    def _of_shape(self, flat: type, square: type) -> type:
        return square if len(self.shape) == 3 else flat

    def _conv(self, spec: Conv) -> None:
        self._check_picture(spec)
        if spec.kernel % 2 == 0:
            raise ValueError(f"kernel sizes must be odd, so that the size is kept; got {spec.kernel}")
        self._layer = f"conv{self._counts[Conv]}"
        kind = self._of_shape(*((WSConv1d, WSConv2d) if spec.standardized else (nn.Conv1d, nn.Conv2d)))
        self._put(self._layer, kind(self.shape[0], spec.channels, spec.kernel, padding=spec.kernel // 2), spec)
        self.shape = (spec.channels, *self.shape[1:])

    def _dense(self, spec: Dense) -> None:
        self._layer = f"fc{self._counts[Dense]}"
        if self._counts[Dense] == 1:
            self._put("flatten", nn.Flatten(), spec)
        kind = WSLinear if spec.standardized else nn.Linear
        self._put(self._layer, kind(math.prod(self.shape), spec.width), spec)
        self.shape = (spec.width,)

    def _pool(self, spec: Pool) -> None:
        self._check_picture(spec)
        if spec.size == 1:
            return
        flat, square = (nn.MaxPool1d, nn.MaxPool2d) if spec.maximum else (nn.AvgPool1d, nn.AvgPool2d)
        self._put(f"pool{self._counts[Pool]}", self._of_shape(flat, square)(spec.size), spec)
        self.shape = (self.shape[0], *(length // spec.size for length in self.shape[1:]))

    def _check_picture(self, spec: Spec) -> None:
        if len(self.shape) not in (2, 3):
            raise ValueError(f"{spec} needs (channels, length) or (channels, height, width), got shape {self.shape}")
