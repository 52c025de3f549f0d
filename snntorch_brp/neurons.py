"""The paper's neuron on snnTorch: leaky integrate-and-fire, slowed by its refractory period (eq. 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import snntorch as snn
import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from snntorch_brp.surrogate import boxcar


def refractory_membrane(
    current: Tensor,
    membrane: Tensor,
    flag: Tensor,
    *,
    beta: Tensor | float,
    v_rest: float = 0.0,
    v_reset: float = 0.0,
) -> Tensor:
    """One step of the membrane (eq. 2, dt = 1)::

        h_t = r_{t-1} V_reset + (1 - r_{t-1}) (V_rest + g (v_{t-1} - V_rest))
        v_t = h_t + I_t

    While the flag r is up the membrane forgets its past but still integrates its input: it is slowed, not
    blocked.

    Args:
        current: Input current I_t, any shape.
        membrane: Membrane potential v_{t-1}, same shape.
        flag: Refractory flag r_{t-1}, 0 or 1, same shape.
        beta: Decay g of the membrane per step.
        v_rest: Resting potential.
        v_reset: Potential that the membrane restarts from while the flag is up.

    Returns:
        Membrane potential v_t, same shape.
    """
    left = beta * membrane if v_rest == 0 else v_rest + beta * (membrane - v_rest)
    h = (1 - flag) * left
    if v_reset != 0:
        h = h + flag * v_reset
    return h + current


class RefractoryLeaky(snn.Leaky):
    """snnTorch's leaky neuron with the paper's refractory slowdown (eq. 2) and boxcar surrogate (eq. 10)::

        v_t = r_{t-1} V_reset + (1 - r_{t-1}) (V_rest + g (v_{t-1} - V_rest)) + I_t
        s_t = 1 if v_t > θ else 0
        r_t = 1 - Π_{k<τ_ref} (1 - s_{t-k})

    With ``tau_ref=1`` and zero potentials the forward pass equals
    ``snn.Leaky(beta, threshold, reset_mechanism="zero")`` bit for bit. It is called like any snnTorch neuron,
    ``spk, mem = lif(cur, mem)``, or ``spk = lif(cur)`` with ``init_hidden=True``.

    Spikes older than the last are kept beside the membrane; they are forgotten whenever ``mem`` is replaced
    (by a reset, by another sequence, by hand), so no sequence can leak into the next.

    Args:
        beta: Decay g of the membrane per step, in 0..1.
        threshold: Threshold θ; the neuron fires strictly above it.
        tau_ref: Refractory period τ_ref in steps, at least 1.
        v_rest: Resting potential V_rest, where the membrane starts and decays to.
        v_reset: Reset potential V_reset.
        detach_reset: True treats r as a constant in the backward pass (as snnTorch does); False lets the
            gradient through it (as the reference does).
        spike_grad: Spike function with its surrogate gradient; ``boxcar()`` when None.
        init_hidden: Keep the membrane on the module between calls.
        output: With ``init_hidden``, return the membrane too.
        learn_beta: Make g a parameter.
        learn_threshold: Make θ a parameter.
        surrogate_disable: Spike without a gradient.
        graded_spikes_factor: What the spikes that are handed on are multiplied with; the reset is not.
        learn_graded_spikes_factor: Make that factor a parameter.
        reset_delay: False shows the membrane after the reset already in the step of the spike, where snnTorch's
            default shows it as it crossed the threshold. The spikes are the same. Needs ``tau_ref=1`` and zero
            potentials.
        reset_mechanism: "zero", the only one that eq. 2 has; taken so that this class can stand where ``snn.Leaky``
            does.
        inhibition: Refused unless False: eq. 2 has no competition within a layer.
        state_quant: Refused unless False: the refractory flag belongs to the membrane as it was.

    Shapes:
        Input ``[B, *]``, membrane ``[B, *]``; output ``(spk, mem)``, each ``[B, *]`` (only ``spk`` with
        ``init_hidden`` and not ``output``), in the dtype of the input.

    Raises:
        ValueError: If ``tau_ref`` is not a whole number of at least 1, or an argument is refused.

    Example:
        >>> lif = RefractoryLeaky(beta=0.2, threshold=0.5)
        >>> mem = lif.reset_mem()
        >>> spk, mem = lif(torch.tensor([[0.4, 0.6]]), mem)
        >>> spk.tolist()
        [[0.0, 1.0]]
    """

    def __init__(
        self,
        beta: float | Tensor = 0.2,
        threshold: float | Tensor = 0.5,
        *,
        tau_ref: int = 1,
        v_rest: float = 0.0,
        v_reset: float = 0.0,
        detach_reset: bool = False,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        init_hidden: bool = False,
        output: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        surrogate_disable: bool = False,
        graded_spikes_factor: float | Tensor = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        reset_mechanism: str = "zero",
        inhibition: bool = False,
        state_quant: bool = False,
    ) -> None:
        if int(tau_ref) != tau_ref or tau_ref < 1:
            raise ValueError(f"tau_ref must be a whole number of steps, at least 1, got {tau_ref}")
        if not reset_delay and (tau_ref > 1 or v_rest or v_reset):
            raise ValueError(
                f"reset_delay=False needs tau_ref=1 and zero potentials, got {tau_ref=}, {v_rest=}, {v_reset=}"
            )
        _check_reset(reset_mechanism)
        for name, value in (("inhibition", inhibition), ("state_quant", state_quant)):
            if value:
                raise ValueError(
                    f'RefractoryLeaky has no {name}: use snn.Leaky(..., reset_mechanism="zero", {name}=...)'
                )
        super().__init__(
            beta,
            threshold,
            spike_grad=spike_grad or boxcar(),
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
            output=output,
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            reset_delay=reset_delay,
        )
        if surrogate_disable:
            self.spike_grad = _step  # snnTorch's own gives float32 whatever the membrane is
        self.tau_ref = int(tau_ref)
        self.v_rest = float(v_rest)
        self.v_reset = float(v_reset)
        self.detach_reset = detach_reset
        self._forget()

    @property
    def reset_mechanism(self) -> str:
        """Always "zero": what eq. 2 does."""
        return "zero"

    @reset_mechanism.setter
    def reset_mechanism(self, name: str) -> None:
        _check_reset(name)

    def _forget(self) -> None:
        """Drop the spikes kept for the refractory flag."""
        self._spikes: tuple[Tensor, ...] = ()  # s_{t-1}, s_{t-2}, ...: at most τ_ref of them
        self._spikes_of: Tensor | None = None  # the membrane they belong to
        self._grown = False  # whether that membrane had a graph

    def _flag(self) -> Tensor:
        """r_{t-1} = 1 - Π_{k<τ_ref} (1 - s_{t-1-k}), from the membrane alone where nothing else is known."""
        if self._spikes_of is not self.mem:
            self._spikes = (self.spike_grad(self.mem - self.threshold),)
        elif self._grown and not self.mem.requires_grad:  # detached in place, as snn.Leaky.detach_hidden() does
            self._spikes = tuple(s.detach() for s in self._spikes)
        spikes = tuple(s.detach() for s in self._spikes) if self.detach_reset else self._spikes
        if len(spikes) == 1:
            return spikes[0]
        quiet = 1 - spikes[0]
        for s in spikes[1:]:
            quiet = quiet * (1 - s)
        return 1 - quiet

    def forward(self, input_: Tensor, mem: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """One time step; see the class."""
        if mem is not None:
            if self.init_hidden:
                raise TypeError("`mem` should not be passed as an argument while `init_hidden=True`")
            self.mem = mem
        if self.mem.shape != input_.shape:
            self.mem = torch.full_like(input_, self.v_rest)

        self.mem = refractory_membrane(
            input_,
            self.mem,
            self._flag() if self.reset_delay else torch.zeros_like(self.mem),
            beta=self.beta.clamp(0, 1),
            v_rest=self.v_rest,
            v_reset=self.v_reset,
        )
        spk = self.spike_grad(self.mem - self.threshold)
        self._spikes = (spk, *self._spikes[: self.tau_ref - 1])
        if not self.reset_delay:
            self.mem = (1 - (spk.detach() if self.detach_reset else spk)) * self.mem
        self._spikes_of, self._grown = self.mem, self.mem.requires_grad
        spk = spk * self.graded_spikes_factor.to(spk.dtype)
        return spk if self.init_hidden and not self.output else (spk, self.mem)

    def reset_mem(self) -> Tensor:
        """Put the membrane to V_rest and forget past spikes."""
        self._forget()
        self.mem = torch.full_like(self.mem, self.v_rest, requires_grad=False)
        return self.mem

    def __getstate__(self) -> dict[str, Any]:
        # copy.deepcopy and torch.save refuse tensors that carry a graph: a copy starts from the values alone.
        state = self.__dict__.copy()
        state["_buffers"] = {**self._buffers, "mem": self.mem.detach()}
        state["_spikes"] = tuple(s.detach() for s in self._spikes)
        state["_spikes_of"] = state["_buffers"]["mem"] if self._spikes_of is self.mem else None
        return state

    def extra_repr(self) -> str:
        """The neuron's settings, for ``print(net)``."""
        parts = [
            f"beta={_short(self.beta)}",
            f"threshold={_short(self.threshold)}",
            f"tau_ref={self.tau_ref}",
        ]
        parts += [f"{name}={getattr(self, name)}" for name in ("v_rest", "v_reset") if getattr(self, name)]
        graded = isinstance(self.graded_spikes_factor, nn.Parameter) or self.graded_spikes_factor.ne(1).any()
        parts += [f"graded_spikes_factor={_short(self.graded_spikes_factor)}"] if graded else []
        parts += [name + "=True" for name in ("detach_reset", "surrogate_disable") if getattr(self, name)]
        return ", ".join(parts + ([] if self.reset_delay else ["reset_delay=False"]))


def _check_reset(name: str) -> None:
    if name != "zero":
        raise ValueError(
            f"RefractoryLeaky resets to zero (eq. 2), and not by reset_mechanism={name!r}: use snn.Leaky(..., "
            f"reset_mechanism={name!r})"
        )


def _step(u: Tensor) -> Tensor:
    """1 where ``u > 0``, else 0, without a gradient."""
    return (u > 0).to(u.dtype)


def _short(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else f"<{tuple(value.shape)}>"


def is_spiking(module: nn.Module) -> bool:
    """Whether a module is a spiking neuron layer of snnTorch."""
    return isinstance(module, SpikingNeuron | snn.LeakyParallel)


def takes_sequence(module: nn.Module) -> bool:
    """Whether a spiking layer runs a whole sequence ``[T, B, *]`` in one call, and not one step."""
    return isinstance(module, snn.LeakyParallel | snn.StateLeaky | snn.AssociativeLeaky)


def unwrapped(net: nn.Module) -> nn.Module:
    """The network inside DistributedDataParallel, DataParallel and torch.compile."""
    while True:
        if isinstance(net, nn.parallel.DistributedDataParallel | nn.DataParallel):
            net = net.module
        elif isinstance(getattr(net, "_orig_mod", None), nn.Module):
            net = net._orig_mod  # type: ignore[assignment]
        else:
            return net


def spiking_layers(net: nn.Module) -> dict[str, nn.Module]:
    """The spiking layers of a network by name, in the order in which they were registered.

    The names are those of the user's own network, whatever it is wrapped in.
    """
    modules = unwrapped(net).named_modules()
    return {name.replace("_orig_mod.", ""): module for name, module in modules if is_spiking(module)}


def reset_state(net: nn.Module) -> None:
    """Put every neuron of this network to rest before a new sequence.

    Unlike ``snntorch.utils.reset`` it reaches neurons at any depth and leaves other networks alone.

    Args:
        net: Any module that contains snnTorch neurons.

    Example:
        >>> net = nn.Sequential(nn.Sequential(snn.Leaky(beta=0.5, init_hidden=True)))
        >>> _ = net(torch.ones(1, 2))
        >>> reset_state(net)
        >>> net[0][0].mem.tolist()
        [[0.0, 0.0]]
    """
    for layer in spiking_layers(net).values():
        if hasattr(layer, "reset_mem"):
            layer.reset_mem()  # type: ignore[operator]


def fault(module: nn.Module) -> str | None:
    """What keeps a spiking layer from being trained at all in snnTorch 1.0.0, and the way out; None for nothing."""
    if isinstance(module, snn.RSynaptic) and not module.reset_delay:
        return "RSynaptic(reset_delay=False) fails in its first step: use reset_delay=True"
    if isinstance(module, snn.SLSTM) and module.input_size != module.hidden_size:
        sizes = f"SLSTM({module.input_size}, {module.hidden_size})"
        return f"{sizes} loses its state at every step: put an nn.Linear before it and make both sizes equal"
    if isinstance(module, snn.StateLeaky) and not module.output:
        return f"{type(module).__name__}(output=False) gives its membrane and no spikes: use output=True"
    for name, value in constants(module).items():
        if not value.is_meta and not bool(value.isfinite().all()):
            return f"its {name} is not finite everywhere, and no current crosses that: put a large number in its place"
    return None


def constants(module: nn.Module) -> dict[str, Tensor]:
    """The numbers of a neuron that are no states, learned or not, by name: ``beta``, ``threshold`` and the like."""
    states = module._non_persistent_buffers_set
    own = (*module._parameters.items(), *((name, b) for name, b in module._buffers.items() if name not in states))
    return {name: value.detach() for name, value in own if value is not None and value.is_floating_point()}
