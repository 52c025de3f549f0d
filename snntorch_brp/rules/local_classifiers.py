"""Learning from a local classifier that learns, too: deep spike learning with local classifiers (ELL, FELL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.propagation import Propagation, project
from snntorch_brp.rules.eligibility import InstantCredit
from snntorch_brp.rules.learned import LearnedValue
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class SpikingClassifier(Propagation):
    """The error of a layer of one spiking neuron a class, which reads the layer's spikes and learns as it does::

        u_t = λ (u_{t-1} - θ c_{t-1}) + V s_t,  c_t = Θ(u_t - θ)
        TP_t = (2/K) (c_t - ȳ) ψ(u_t),  ∇V = mean_b Σ_t TP_t s_tᵀ

    TP reaches the layer through V itself, which is the layer's own, or through the fixed B_l. V starts as B_l.

    Args:
        learning_rate: Of V.
        feedback: "own" sends TP back through V, "random" through B_l.
        decay: λ, in [0, 1].
        threshold: θ.

    Raises:
        ValueError: If ``feedback`` or ``decay`` cannot be.
    """

    fusible: ClassVar[bool] = False

    learning_rate: float = 1e-3
    feedback: Literal["own", "random"] = "own"
    decay: float = 0.2
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.feedback not in ("own", "random"):
            raise ValueError(f"feedback must be 'own' or 'random', got {self.feedback!r}")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], got {self.decay}")

    @property
    def classifier(self) -> LearnedValue:
        """V of each layer, ``[K, *]``."""
        return LearnedValue(key="classifier", learning_rate=self.learning_rate)

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP_t``, ``[T, B, K]``."""
        V = self.classifier.now(window, lambda: feedback)
        current = window.spikes.flatten(2) @ V.to(window.spikes.dtype).flatten(1).T
        u, c = self._run(current, window)
        return 2 / label.shape[-1] * (c - label) * window.layer.pseudo_derivative(u - self.threshold)

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``δ_t = TP_t·V`` or ``TP_t·B_l``; V is taught on the way."""
        V = self.classifier.moved(window, lambda: feedback)
        signal = self.signal(label, window=window, feedback=feedback, output=output)
        taught = torch.einsum("tbk,tbn->kn", signal, window.spikes.flatten(2)) / signal.shape[1]
        self.classifier.teach(window, taught.view_as(V).to(V.dtype))
        return project(signal, V.to(signal.dtype) if self.feedback == "own" else feedback)

    def _run(self, current: Tensor, window: Activity) -> tuple[Tensor, Tensor]:
        """Membranes and spikes of the classifier, ``[T, B, K]``."""
        before = window.recall("classifier")
        left = torch.zeros_like(current[0]) if before is None else before
        membranes, spikes = [], []
        for I_t in current:
            u = left + I_t
            c = (u > self.threshold).to(u.dtype)
            left = self.decay * (u - self.threshold * c)
            membranes.append(u)
            spikes.append(c)
        window.remember("classifier", left)
        return torch.stack(membranes), torch.stack(spikes)


@dataclass(frozen=True, kw_only=True)
class ELL(LocalRule):
    """Early local learning: each layer learns from the error of a spiking classifier of its own, which learns too::

        u_t = λ (u_{t-1} - θ c_{t-1}) + V_l s_t^l,  c_t = Θ(u_t - θ),  L_t = mean_k (c_t - y*)²
        ∇W_l = Σ_t ((∂L_t/∂c_t ψ(u_t)) V_l ⊙ ψ(v_t^l)) s_t^{l-1}ᵀ,  ∇V_l = Σ_t (∂L_t/∂c_t ψ(u_t)) s_tᵀ

    No gradient goes back in time, nor to another layer. With ``feedback="random"`` the classifier's error comes back
    through the fixed B_l in the place of V_l (FELL), so that no weights are transported even within the layer.

    Ma, Yan, Yu, Yu, "Deep Spike Learning With Local Classifiers", IEEE Transactions on Cybernetics 53, 2023. It differs
    in this: the weights move once a sequence and not at every step, ψ is that of the layer's own neurons, V_l starts as
    B_l, and BELL, which goes back through the block's own time, is left out. V_l learns by Adam, as in the authors'
    code; it is saved and resumed with the feedback matrices.

    Args:
        learning_rate: Of V_l.
        feedback: "own" (ELL) or "random" (FELL).
        decay: λ of the classifier.
        threshold: θ of the classifier.

    Example:
        >>> ELL(feedback="random").propagation.feedback
        'random'
    """

    facts: ClassVar[Facts] = Facts(
        name="ell",
        paper="Ma, Yan, Yu, Yu, Deep Spike Learning With Local Classifiers, IEEE Transactions on Cybernetics 2023",
        sees="the label, its own learned classifier",
        learns="at every step",
        remembers="its classifier's membranes (K), and the classifier itself (KN)",
        transports="no; within the layer those of its own classifier",
    )

    learning_rate: float = 1e-3
    feedback: Literal["own", "random"] = "own"
    decay: float = 0.2
    threshold: float = 0.5

    @property
    def propagation(self) -> Propagation:
        """The classifier's error."""
        return self.part(SpikingClassifier)

    consolidation = InstantCredit()
