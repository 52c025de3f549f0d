"""Published local learning rules for spiking networks, each in one class: ``attach(net, rules.DECOLLE(), ...)``."""

from snntorch_brp.eligibility_trace import AdaptiveTrace, EligibilityTrace, LeakyTrace, trace_of
from snntorch_brp.rules.contrast import CCL, PredSim, SimilarityLoss
from snntorch_brp.rules.decolle import DECOLLE, LearnedReadout, LocalReadout
from snntorch_brp.rules.eligibility import Eligibility, FilteredEligibility, InstantCredit
from snntorch_brp.rules.eprop import EProp, StepError
from snntorch_brp.rules.espp import ESPP, Echo, echo_batches
from snntorch_brp.rules.forward_forward import Goodness, SampleKind, SpikingForwardForward, overlay
from snntorch_brp.rules.instant import OSTL, OTTT, InstantGradient
from snntorch_brp.rules.learned import LearnedValue
from snntorch_brp.rules.local_classifiers import ELL, SpikingClassifier
from snntorch_brp.rules.projections import DFA, DRTP, SDFA
from snntorch_brp.rules.registry import OWN_DATA, RULES, TRAINED, rule_named, table, trained_rule
from snntorch_brp.rules.reward import PairTrace, Reward, RewardModulatedSTDP
from snntorch_brp.rules.rule import Facts, LocalRule
from snntorch_brp.rules.stllr import STLLR, TimingTrace
from snntorch_brp.rules.target_traces import ETLP, OSTTP
from snntorch_brp.rules.traces_propagation import ContrastiveTraces, TracesPropagation, paired
from snntorch_brp.rules.unsupervised import Unmodulated

__all__ = [
    "CCL",
    "DECOLLE",
    "DFA",
    "DRTP",
    "ELL",
    "ESPP",
    "ETLP",
    "OSTL",
    "OSTTP",
    "OTTT",
    "OWN_DATA",
    "RULES",
    "SDFA",
    "STLLR",
    "TRAINED",
    "AdaptiveTrace",
    "ContrastiveTraces",
    "EProp",
    "Echo",
    "Eligibility",
    "EligibilityTrace",
    "Facts",
    "FilteredEligibility",
    "Goodness",
    "InstantCredit",
    "InstantGradient",
    "LeakyTrace",
    "LearnedReadout",
    "LearnedValue",
    "LocalReadout",
    "LocalRule",
    "PairTrace",
    "PredSim",
    "Reward",
    "RewardModulatedSTDP",
    "SampleKind",
    "SimilarityLoss",
    "SpikingClassifier",
    "SpikingForwardForward",
    "StepError",
    "TimingTrace",
    "TracesPropagation",
    "Unmodulated",
    "echo_batches",
    "overlay",
    "paired",
    "rule_named",
    "table",
    "trace_of",
    "trained_rule",
]
