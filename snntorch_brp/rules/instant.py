"""The loss's own gradient at one step, through all layers in space and no further than traces in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import PseudoGradient
from snntorch_brp.propagation import Propagation
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class InstantGradient(Propagation):
    """The gradient of the loss of this step's output, backpropagated through the layers behind within the step.

    Global in space: errors travel back through the weights of all layers behind. Local in time: none goes further back
    than the step. Only online, ``attach(..., credit="trace")``.
    """

    needs_output: ClassVar[bool] = True
    every_step: ClassVar[bool] = True
    spatial: ClassVar[bool] = True
    fusible: ClassVar[bool] = False

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> None:
        """Nothing goes through B_l."""


@dataclass(frozen=True, kw_only=True)
class OTTT(LocalRule):
    """Online training through time: backpropagation in space at every step, with traces of the inputs in time::

        â_l[t] = λ â_l[t-1] + s_l[t]
        ∇W_l = Σ_t g_{u_{l+1}}[t] â_l[t]ᵀ,  g_{u_l}[t] = W_lᵀ g_{u_{l+1}}[t] ⊙ ψ(u_l[t])

    from the loss of each step's output, ``L[t] = mse(s_out[t], one-hot) / T``. **The signal is global in space**:
    errors travel back through all weights. It is local in time, and memory does not grow with T.

    Xiao, Meng, Zhang, He, Lin, "Online Training Through Time for Spiking Neural Networks", NeurIPS 2022. Only online:
    ``attach(net, OTTT(), num_classes=10, credit="trace")``, with the mean squared error in the place of the paper's mix
    with the cross entropy, and spikes as the output in the place of its non-spiking readout.

    Example:
        >>> OTTT().propagation.spatial
        True
    """

    facts: ClassVar[Facts] = Facts(
        name="ottt",
        paper="Xiao, Meng, Zhang, He, Lin, Online Training Through Time for Spiking Neural Networks, NeurIPS 2022",
        sees="the error of the layer behind it: global in space",
        learns="at every step, after the output and the layers behind it",
        remembers="one trace for each input (M)",
        transports="yes: errors through the weights of the layers behind",
    )

    propagation = InstantGradient()
    consolidation = PseudoGradient()


@dataclass(frozen=True, kw_only=True)
class OSTL(LocalRule):
    """Online spatio-temporal learning: learning signals in space times eligibility traces in time::

        L_t^l = (∂E_t/∂s_t^k) ∂s_t^k/∂s_t^l,  e_t^l = ds_t^l/dθ_l
        dE/dθ_l = Σ_t L_t^l e_t^l

    which leaves out what goes through several layers and steps at once. In leaky layers without recurrence e_t is the
    trace of the input, so the rule is that of :class:`OTTT` there. In recurrent layers e_t is approximated here: what a
    layer's own spikes did to it since, which takes N²M numbers in the paper, is left out. **The signal is global in
    space**, as OTTT's is.

    Bohnstingl, Woźniak, Pantazi, Eleftheriou, "Online Spatio-Temporal Learning in Deep Neural Networks", IEEE
    Transactions on Neural Networks and Learning Systems 2023. Only online, as OTTT.

    Example:
        >>> OSTL().consolidation
        PseudoGradient()
    """

    facts: ClassVar[Facts] = Facts(
        name="ostl",
        paper="Bohnstingl et al., Online Spatio-Temporal Learning in Deep Neural Networks, IEEE TNNLS 2023",
        sees="the error of the layer behind it: global in space",
        learns="at every step, after the output and the layers behind it",
        remembers="one trace for each input (M)",
        transports="yes: errors through the weights of the layers behind",
    )

    propagation = InstantGradient()
    consolidation = PseudoGradient()
