"""Training steps to compare: this package beside BPTT in its host and its neighbours, on the same networks.

Each contender is a function that builds the network of a :class:`Setting` and returns ``step(x, labels)``: forward,
gradients, Adam. All use the same neuron constants, the paper's (g = 0.2, θ = 0.5, reset to zero) or those of a
tutorial, the same loss and the same optimizer, Adam with ``fused=True``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tutorials import TUTORIALS

from snntorch_brp import attach
from snntorch_brp.fused import FusedEngine
from snntorch_brp.models import cifar10_net, dvsgesture_net, mlp, mnist_net, tidigits_net
from snntorch_brp.neurons import is_spiking
from snntorch_brp.propagation import BRP, Backprop, ErrorProjection, OutputOnly, RewardPrediction, SignProjection
from snntorch_brp.sequence import unroll
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

Step = Callable[[Tensor, Tensor], object]

# Network, shape of a sample, and share of inputs that are spikes: about the mean intensity of the data.
NETS: dict[str, tuple[Callable[..., nn.Sequential], tuple[int, ...], float]] = {
    "mnist": (mnist_net, (1, 28, 28), 0.13),
    "cifar10": (cifar10_net, (3, 32, 32), 0.47),
    "tidigits": (tidigits_net, (1, 30), 0.4),
    "dvsgesture": (dvsgesture_net, (1, 32, 32), 0.05),
    "small": (functools.partial(mlp, [20, 30, 10]), (20,), 0.3),
}
RULES = {
    "BRP": BRP,
    "RewardPrediction": RewardPrediction,
    "ErrorProjection": ErrorProjection,
    "SignProjection": SignProjection,
    "Backprop": Backprop,
    "OutputOnly": OutputOnly,
}


@dataclass(frozen=True)
class Setting:
    """What is trained: a network of ``NETS``, or ``depth`` hidden layers of 1000 neurons on 784 inputs.

    Or, with its own neurons, steps and batch, one of ``TUTORIALS``.
    """

    net: str = "mnist"
    steps: int = 20
    batch: int = 50
    depth: int = 0

    def network(self, **kw: object) -> nn.Sequential:
        if self.net in TUTORIALS:
            torch.manual_seed(0)
            return TUTORIALS[self.net].network()
        if self.depth:
            return mlp([784, *[1000] * self.depth, 10], **kw)
        return NETS[self.net][0](**kw)

    def data(self) -> tuple[Tensor, Tensor]:
        """Random spikes and labels."""
        if self.net in TUTORIALS:
            return TUTORIALS[self.net].data()
        _, shape, density = NETS[self.net]
        shape = (784,) if self.depth else shape
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(self.steps, self.batch, *shape, generator=generator) < density
        return x.float(), torch.arange(self.batch) % 10


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)


def with_attach(setting: Setting, rule: str) -> Step:
    net = setting.network()
    optimizer, classes = adam(net), net[-2].out_features
    handle = attach(net, RULES[rule](), num_classes=classes).__enter__()

    def step(x: Tensor, labels: Tensor) -> None:
        handle.backward(rate_mse(unroll(net, x), labels), labels)
        optimizer.step()
        optimizer.zero_grad()

    return step


def with_fused(setting: Setting, rule: str, *, precision: str = "float32") -> Step:
    net = setting.network()
    optimizer, classes = adam(net), net[-2].out_features
    engine = FusedEngine(net, RULES[rule](), num_classes=classes, loss_fn=rate_mse, precision=precision)

    def step(x: Tensor, labels: Tensor) -> None:
        engine.step(x, labels)
        optimizer.step()
        optimizer.zero_grad()

    return step


def snntorch_bptt(setting: Setting) -> Step:
    """snnTorch as its tutorials have it: a loop over time, ``loss.backward()``."""

    def neuron() -> snn.Leaky:
        return snn.Leaky(0.2, threshold=0.5, reset_mechanism="zero", spike_grad=boxcar(), init_hidden=True)

    net = setting.network(neuron=neuron)
    return _by_autograd(net, lambda x: unroll(net, x))


def snntorch_compiled(setting: Setting) -> Step:
    """The same with ``torch.compile`` over one step of the network."""
    net = setting.network()
    compiled = torch.compile(net)
    return _by_autograd(net, lambda x: unroll(compiled, x))


def spikingjelly_bptt(setting: Setting) -> Step:
    """SpikingJelly in its multi-step mode: each layer runs all steps at once."""
    from spikingjelly.activation_based import functional, layer
    from spikingjelly.activation_based.neuron import LIFNode

    def neuron() -> nn.Module:  # v_t = v_{t-1} / tau' + I_t with decay 0.2
        return LIFNode(tau=1 / (1 - 0.2), decay_input=False, v_threshold=0.5, v_reset=0.0)

    modules = setting.network(neuron=neuron)
    net = nn.Sequential(*(m if isinstance(m, LIFNode) else layer.SeqToANNContainer(m) for m in modules))
    functional.set_step_mode(net, "m")

    def forward(x: Tensor) -> Tensor:
        functional.reset_net(net)
        return net(x)

    return _by_autograd(net, forward)


def norse_bptt(setting: Setting) -> Step:
    """Norse's SequentialState with its cheapest leaky neuron, in a loop over time."""
    import norse.torch as norse

    parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(800.0), v_th=torch.tensor(0.5))
    net = norse.SequentialState(*setting.network(neuron=lambda: norse.LIFBoxCell(p=parameters)))

    def forward(x: Tensor) -> Tensor:
        state, spikes = None, []
        for x_t in x:
            s_t, state = net(x_t, state)
            spikes.append(s_t)
        return torch.stack(spikes)

    return _by_autograd(net, forward)


class _Spike(torch.autograd.Function):
    """The paper's spike with its boxcar pseudo-gradient (eq. 10)."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return v.gt(0.5).float()

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad * (abs(v - 0.5) < 0.5).float()


class _Send(torch.autograd.Function):
    """Lets spikes pass, and puts the projected label in the place of whatever gradient comes back."""

    @staticmethod
    def forward(ctx, spikes, labels, feedback):
        ctx.save_for_backward(labels, feedback)
        return spikes.clone()

    @staticmethod
    def backward(ctx, grad):
        labels, feedback = ctx.saved_tensors
        return (labels @ feedback).view_as(grad) / len(labels), None, None


def reference(setting: Setting, *, local: bool) -> Step:
    """The authors' way of computing the same update, written out: autograd through everything, gradients replaced."""
    net = setting.network()
    feedback: dict[nn.Module, Tensor] = {}

    def forward(x: Tensor, labels: Tensor) -> Tensor:
        target = F.one_hot(labels, net[-2].out_features).float()
        state: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        total = 0
        for z in x:
            for module in net:
                if not is_spiking(module):
                    z = module(z)
                    continue
                mem, spike = state.get(module, (torch.zeros_like(z), torch.zeros_like(z)))
                mem = mem * 0.2 * (1.0 - spike) + z
                spike = _Spike.apply(mem)
                state[module] = mem, spike
                if local and module is not net[-1]:
                    if module not in feedback:
                        feedback[module] = nn.init.kaiming_uniform_(torch.empty(target.shape[1], z[0].numel()))
                    z = _Send.apply(spike, target, feedback[module])
                else:
                    z = spike
            total = total + z
        return (total / len(x))[None]

    return _by_autograd(net, forward, labelled=True)


def _by_autograd(net: nn.Module, forward: Callable[..., Tensor], *, labelled: bool = False) -> Step:
    optimizer = adam(net)

    def step(x: Tensor, labels: Tensor) -> None:
        rate_mse(forward(x, labels) if labelled else forward(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


PEERS: dict[str, Callable[[Setting], Step]] = {
    "reference BRP": functools.partial(reference, local=True),
    "reference BP": functools.partial(reference, local=False),
    "snnTorch BPTT": snntorch_bptt,
    "snnTorch BPTT compiled": snntorch_compiled,
    "SpikingJelly BPTT": spikingjelly_bptt,
    "Norse BPTT": norse_bptt,
}
OURS: dict[str, Callable[[Setting], Step]] = {
    **{f"attach {rule}": functools.partial(with_attach, rule=rule) for rule in RULES},
    **{f"fused {rule}": functools.partial(with_fused, rule=rule) for rule in RULES},
    **{f"fused bf16 {rule}": functools.partial(with_fused, rule=rule, precision="bfloat16") for rule in RULES},
}
CONTENDERS = PEERS | OURS
