"""Published local learning rules for spiking networks, each in one class: ``attach(net, rules.DECOLLE(), ...)``."""

from snntorch_brp.rules.contrast import CCL, SimilarityLoss
from snntorch_brp.rules.decolle import DECOLLE, LocalReadout
from snntorch_brp.rules.eligibility import Eligibility, FilteredEligibility
from snntorch_brp.rules.eprop import EProp, StepError
from snntorch_brp.rules.forward_forward import Goodness, SampleKind, SpikingForwardForward, overlay
from snntorch_brp.rules.instant import OSTL, OTTT, InstantGradient
from snntorch_brp.rules.projections import DFA, DRTP, SDFA
from snntorch_brp.rules.registry import RULES, rule_named, table
from snntorch_brp.rules.reward import PairTrace, Reward, RewardModulatedSTDP
from snntorch_brp.rules.rule import Facts, LocalRule
from snntorch_brp.rules.stllr import STLLR, TimingTrace
from snntorch_brp.rules.target_traces import ETLP, OSTTP
from snntorch_brp.rules.unsupervised import Unmodulated

__all__ = [
    "CCL",
    "DECOLLE",
    "DFA",
    "DRTP",
    "ETLP",
    "OSTL",
    "OSTTP",
    "OTTT",
    "RULES",
    "SDFA",
    "STLLR",
    "EProp",
    "Eligibility",
    "Facts",
    "FilteredEligibility",
    "Goodness",
    "InstantGradient",
    "LocalReadout",
    "LocalRule",
    "PairTrace",
    "Reward",
    "RewardModulatedSTDP",
    "SampleKind",
    "SimilarityLoss",
    "SpikingForwardForward",
    "StepError",
    "TimingTrace",
    "Unmodulated",
    "overlay",
    "rule_named",
    "table",
]
