"""Training and testing a spiking network under a local rule."""

from snntorch_brp.training.callbacks import Callback, EarlyStopping, Trainer
from snntorch_brp.training.executor import Loss, rate_mse
from snntorch_brp.training.results import EpochResult, Evaluation, Progress, StepResult
from snntorch_brp.training.trainer import BRPTrainer

__all__ = [
    "BRPTrainer",
    "Callback",
    "EarlyStopping",
    "EpochResult",
    "Evaluation",
    "Loss",
    "Progress",
    "StepResult",
    "Trainer",
    "rate_mse",
]
