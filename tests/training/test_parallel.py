"""What several processes cannot compute as one would is refused before the first step."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from snntorch_brp import BRP, BRPTrainer, PseudoGradient, RefractoryLeaky, SimilarityMatching
from snntorch_brp.models import mlp
from snntorch_brp.runtime import distributed
from snntorch_brp.training.parallel import check_shareable


class Comparing(BRP):
    """A rule that looks at the whole batch."""

    compares_samples: ClassVar[bool] = True


def normalized(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 5), norm, RefractoryLeaky(init_hidden=True), nn.Linear(5, 3), RefractoryLeaky(init_hidden=True)
    )


@pytest.mark.parametrize(
    ("net", "propagation", "consolidation", "message"),
    [
        (mlp([4, 5, 3]), BRP(), SimilarityMatching(), "SimilarityMatching compares the samples"),
        (mlp([4, 5, 3]), Comparing(), PseudoGradient(), "Comparing compares the samples"),
        (normalized(nn.BatchNorm1d(5)), BRP(), PseudoGradient(), r"'1' is a BatchNorm1d.*SyncBatchNorm"),
    ],
    ids=["consolidation", "propagation", "batch norm"],
)
def test_what_compares_samples_is_for_one_process(
    net: nn.Module, propagation: BRP, consolidation: PseudoGradient, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = lambda: BRPTrainer(net, num_classes=3, propagation=propagation, consolidation=consolidation)  # noqa: E731
    make().step((torch.rand(4, 6, 4) < 0.5).float(), torch.arange(6) % 3)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 5), nn.SyncBatchNorm(5), nn.Identity()])
def test_what_looks_at_one_sample_at_a_time_is_for_several(norm: nn.Module) -> None:
    check_shareable(normalized(norm), BRP(), PseudoGradient(), processes=2)
