"""Leaky neurons whose threshold rises with every spike of their own: spike-frequency adaptation (ALIF)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import snntorch as snn
import torch
from torch import Tensor

from snntorch_brp.surrogate import boxcar


class AdaptiveLeaky(snn.Leaky):
    """snnTorch's leaky neuron with an adaptive threshold, the ALIF neuron of long short-term memory spiking networks::

        v_t = g v_{t-1} + I_t - s_{t-1} θ
        A_t = θ + β_a a_t,  a_t = ρ a_{t-1} + s_{t-1}
        s_t = 1 if v_t > A_t else 0

    so that a neuron that has fired fires less for some 1 / (1 - ρ) steps: a memory far longer than its membrane's.

    It is called as ``snn.Leaky`` is, ``spk, mem = lif(cur, mem)``, or ``spk = lif(cur)`` with ``init_hidden=True``. The
    adaptation a is kept beside the membrane, and forgotten whenever ``mem`` is replaced (by a reset, by another
    sequence, by hand), so no sequence can leak into the next. The reset is a constant in the backward pass, as it is in
    snnTorch; the adaptation is not.

    Bellec, Salaj, Subramoney, Legenstein, Maass, "Long Short-Term Memory and Learning-to-Learn in Networks of Spiking
    Neurons", NeurIPS 2018; in the form of Bellec et al., "A Solution to the Learning Dilemma for Recurrent Networks of
    Spiking Neurons", Nature Communications 11:3625, 2020, where the reset takes off θ, and not A_t.

    Args:
        beta: Decay g of the membrane per step, in 0..1.
        threshold: Threshold θ at rest.
        adaptation: β_a, by how much a spike raises the threshold; 0 makes a ``snn.Leaky``. One number, or one a neuron.
        rho: ρ, decay of the adaptation per step, in 0..1; likewise.
        spike_grad: Spike function with its surrogate gradient; ``boxcar()`` when None.
        init_hidden: Keep the membrane on the module between calls.
        output: With ``init_hidden``, return the membrane too.
        learn_beta: Make g a parameter.
        learn_threshold: Make θ a parameter.
        reset_mechanism: "subtract" takes θ off, "zero" drops the membrane, "none" leaves it.

    Shapes:
        Input ``[B, *]``, membrane ``[B, *]``; output ``(spk, mem)``, each ``[B, *]`` (only ``spk`` with
        ``init_hidden`` and not ``output``), in the dtype of the input.

    Raises:
        ValueError: If ``adaptation`` is negative, or ``rho`` out of range.

    Example:
        >>> lif = AdaptiveLeaky(beta=0.5, threshold=0.5, adaptation=1.0, rho=0.9, init_hidden=True)
        >>> [lif(torch.full((1, 1), 0.8)).item() for _ in range(6)]
        [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        *,
        adaptation: float | Tensor = 0.18,
        rho: float | Tensor = 0.97,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        init_hidden: bool = False,
        output: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: Literal["subtract", "zero", "none"] = "subtract",
    ) -> None:
        super().__init__(
            beta,
            threshold,
            spike_grad=spike_grad or boxcar(),
            init_hidden=init_hidden,
            output=output,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
        )
        self.register_buffer("adaptation", torch.as_tensor(adaptation))
        self.register_buffer("rho", torch.as_tensor(rho))
        if not (self.adaptation >= 0).all():
            raise ValueError(f"adaptation must not be negative, got {adaptation}")
        if not ((self.rho >= 0) & (self.rho <= 1)).all():
            raise ValueError(f"rho must lie in 0..1, got {rho}")
        self._forget()

    adaptation: Tensor
    rho: Tensor

    def _forget(self) -> None:
        """Drop what is kept beside the membrane."""
        self._spikes: Tensor | None = None  # s_t
        self._adapted: Tensor | None = None  # a_t
        self._kept_of: Tensor | None = None  # the membrane they belong to
        self._grown = False  # whether that membrane had a graph

    def _past(self) -> tuple[Tensor, Tensor]:
        """s_{t-1} and a_{t-1}; from the membrane alone, as if it had never fired, where nothing else is known."""
        if self._kept_of is not self.mem or self._spikes is None or self._adapted is None:
            return self.spike_grad(self.mem - self.threshold), torch.zeros_like(self.mem)
        if self._grown and not self.mem.requires_grad:  # detached in place, as snn.Leaky.detach_hidden() does
            return self._spikes.detach(), self._adapted.detach()
        return self._spikes, self._adapted

    def forward(self, input_: Tensor, mem: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """One time step; see the class."""
        if mem is not None:
            if self.init_hidden:
                raise TypeError("`mem` should not be passed as an argument while `init_hidden=True`")
            self.mem = mem
        if self.mem.shape != input_.shape:
            self.mem = torch.zeros_like(input_)

        spikes, adapted = self._past()
        before = (1 - spikes.detach()) * self.mem if self.reset_mechanism == "zero" else self.mem
        self.mem = self.beta.clamp(0, 1) * before + input_
        if self.reset_mechanism == "subtract":
            self.mem = self.mem - spikes.detach() * self.threshold
        self._adapted = self.rho * adapted + spikes
        self._spikes = self.spike_grad(self.mem - self.adapted_threshold)
        self._kept_of, self._grown = self.mem, self.mem.requires_grad
        spk = self._spikes.clone()  # what is handed on is not what is kept, which may be detached in place
        return spk if self.init_hidden and not self.output else (spk, self.mem)

    @property
    def adapted_threshold(self) -> Tensor:
        """A_t = θ + β_a a_t of the last step."""
        return self.threshold if self._adapted is None else self.threshold + self.adaptation * self._adapted

    def reset_mem(self) -> Tensor:
        """Put the membrane to rest and forget the adaptation."""
        self._forget()
        self.mem = torch.zeros_like(self.mem, requires_grad=False)
        return self.mem

    def __getstate__(self) -> dict[str, Any]:
        # copy.deepcopy and torch.save refuse tensors that carry a graph: a copy starts from the values alone.
        state = self.__dict__.copy()
        state["_buffers"] = {**self._buffers, "mem": self.mem.detach()}
        for name in ("_spikes", "_adapted"):
            state[name] = None if state[name] is None else state[name].detach()
        state["_kept_of"] = state["_buffers"]["mem"] if self._kept_of is self.mem else None
        return state

    def extra_repr(self) -> str:
        """The neuron's settings, for ``print(net)``."""
        names = ("beta", "threshold", "adaptation", "rho")
        values = [f"{name}={_short(getattr(self, name))}" for name in names]
        return ", ".join([*values, *([] if self.reset_mechanism == "subtract" else [self.reset_mechanism])])


def _short(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else f"<{tuple(value.shape)}>"
