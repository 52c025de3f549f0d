"""What a rule may know of the layer that it teaches: its own neuron and synapses, nothing of another layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from snntorch_brp.adaptive import AdaptiveLeaky
from snntorch_brp.eligibility_trace import EligibilityTrace, trace_of
from snntorch_brp.feedback import Feedback
from snntorch_brp.traces import Decays, cascade


class LayerView:
    """One layer as its rule sees it.

    Args:
        name: The layer's name in its network.
        neuron: Its neurons, a module of snnTorch.
        synapses: The modules with weights between the neurons before and these, where the rule keeps ``"inputs"``.
        feedback: Where the layer's learned values are saved, beside B_l.
        net: The network, for the rules that look a weight of another layer up, and say so.

    Example:
        >>> LayerView("lif1", snn.Leaky(0.9, threshold=0.5)).threshold.item()
        0.5
    """

    def __init__(
        self,
        name: str,
        neuron: nn.Module,
        *,
        synapses: Sequence[nn.Module] = (),
        feedback: Feedback | None = None,
        net: nn.Module | None = None,
    ) -> None:
        self.name = name
        self.neuron = neuron
        self.synapses = tuple(synapses)
        self.net = net
        self._feedback = feedback

    @property
    def threshold(self) -> Tensor:
        """Threshold θ, a number or one for each neuron."""
        return self.neuron.threshold.detach()  # type: ignore[operator]

    def thresholds(self, spikes: Tensor) -> Tensor:
        """The threshold at every step: θ, or ``[T, B, *]`` where it adapts, ``A_t = θ + β_a Σ_{u<t} ρ^(t-1-u) s_u``.

        Args:
            spikes: Those of the layer since the start of the sequence, ``[T, B, *]``.
        """
        neuron = self.neuron
        if not isinstance(neuron, AdaptiveLeaky):
            return self.threshold
        before = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])
        return self.threshold + neuron.adaptation * cascade(before, (neuron.rho,))

    @property
    def threshold_now(self) -> Tensor:
        """The threshold of the step that the layer ran last."""
        return self.neuron.adapted_threshold.detach() if isinstance(self.neuron, AdaptiveLeaky) else self.threshold

    @cached_property
    def trace(self) -> EligibilityTrace:
        """The eligibility trace of the layer's synapses; see :func:`snntorch_brp.eligibility_trace.trace_of`."""
        try:
            return trace_of(self.neuron)
        except ValueError as error:
            raise ValueError(f"layer '{self.name}': {error}") from None

    @property
    def decays(self) -> Decays:
        """How the membrane forgets its input, ``(β,)`` or ``(β, α)``."""
        return self.trace.decays

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The weights of each synapse, without their graph."""
        return tuple(synapse.weight.detach() for synapse in self.synapses)  # type: ignore[operator]

    def weight_roots(
        self, gradients: Sequence[Tensor | None], scale: float | Tensor
    ) -> list[tuple[Tensor, Tensor | None]]:
        """The weights themselves and the gradients that a rule gives for them.

        Raises:
            ValueError: If there is not one for each synapse, or one has another shape than its weights.
        """
        if not gradients:
            return []
        own: list[Tensor] = [synapse.weight for synapse in self.synapses]  # type: ignore[misc]
        given = [None if g is None else tuple(g.shape) for g in gradients]
        has = [tuple(weight.shape) for weight in own]
        if len(given) != len(has) or any(g not in (None, h) for g, h in zip(given, has, strict=True)):
            raise ValueError(
                f"layer '{self.name}' has weights {has}, and its rule gave gradients {given}: give "
                "Gradients(weights=...) one for each of window.layer.synapses, None for none"
            )
        pairs = zip(own, gradients, strict=True)
        return [(w, (g * scale).to(w.dtype)) for w, g in pairs if g is not None and w.requires_grad]

    def psi(self, membrane: Tensor, threshold: Tensor | None = None) -> Tensor:
        """ψ(v), the pseudo-derivative of the layer's own spike function at the membrane potential v (any shape).

        Args:
            membrane: v.
            threshold: What it is compared with; θ when None.

        Raises:
            ValueError: If the neuron resets within the step: its membrane is no longer what made it fire.
        """
        if not getattr(self.neuron, "reset_delay", True):
            raise ValueError(
                f"layer '{self.name}' resets within the step, so that its membrane does not tell ψ: use "
                f"{type(self.neuron).__name__}(..., reset_delay=True)"
            )
        return self.pseudo_derivative(membrane - (self.threshold if threshold is None else threshold))

    def pseudo_derivative(self, above: Tensor) -> Tensor:
        """The pseudo-derivative of the layer's spike function, from how far a membrane is above its threshold."""
        with torch.enable_grad():
            u = above.detach().requires_grad_()
            (psi,) = torch.autograd.grad(self.neuron.spike_grad(u).sum(), u)  # type: ignore[operator]
        return psi.to(above.dtype)

    def learned(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """A value that the rule itself learns for this layer; change it in place.

        It is saved with the feedback matrices, and comes back with them.

        Args:
            key: What to call it.
            make: Makes the first value; its device is where the value is wanted.

        Raises:
            RuntimeError: If the layer has nowhere to keep it, as in the fused engine.
        """
        if self._feedback is None:
            raise RuntimeError(f"layer '{self.name}' keeps no learned values here: say `fusible = False` in the rule")
        return self._feedback.learned(self.name, key, make)
