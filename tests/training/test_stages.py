"""Training in stages: what stands behind layers at rest learns from kept spikes as it does behind the layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from snntorch_brp import BRPTrainer, DirectEncoder, SimilarityMatching
from snntorch_brp.data.loader import batches
from snntorch_brp.models import network
from snntorch_brp.reading import PooledReading
from snntorch_brp.training.stages import PackedSpikes, split_behind

SHAPE, T = (1, 8, 8), 3
SAMPLES, LABELS = torch.rand(30, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
RULE = {"propagation": PooledReading(places=2), "consolidation": SimilarityMatching(places=2, target="label")}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    made = network("Conv3x3x4-BN-M2-Conv3x3x5-BN-M2-FC6-FC3", SHAPE)
    made(torch.rand(20, *SHAPE))  # statistics that are not those of a fresh network
    for name, module in made.named_children():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data *= 3
        if name.endswith("_lif"):
            module.reset_mem()
    return made


def trained(part: nn.Module, encoder, samples: Tensor, *, engine: str = "auto") -> list[float]:
    """Losses of two epochs."""
    learning = [p for p in part.parameters() if p.requires_grad]
    trainer = BRPTrainer(
        part,
        num_classes=3,
        optimizer=torch.optim.Adam(learning, 1e-2),
        encoder=encoder,
        engine=engine,  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(1),
        **RULE,  # type: ignore[arg-type]
    )
    loader = batches(TensorDataset(samples, LABELS), 10, shuffle=True, generator=torch.Generator().manual_seed(2))
    return [result.loss for result in trainer.fit(loader, epochs=2, progress=False)]


@pytest.mark.parametrize("engine", ["fused", "attach"])
def test_what_is_behind_learns_as_behind_layers_that_are_frozen(engine: str) -> None:
    """The front's batch norm is folded into its convolution for the whole network, whose trainer would train it."""
    encoder, whole = DirectEncoder(T), net()
    front, rest = split_behind(copy.deepcopy(whole), "conv1_lif")
    bn, conv = whole.conv1_bn, whole.conv1
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    conv.weight.data *= scale.view(-1, 1, 1, 1)
    conv.bias.data = (conv.bias - bn.running_mean) * scale + bn.bias
    whole.conv1_bn = nn.Identity()
    conv.requires_grad_(False)
    spikes = PackedSpikes(front, encoder, SAMPLES)
    expected = trained(whole, encoder, SAMPLES, engine=engine)
    got = trained(rest, spikes, spikes.pack(SAMPLES), engine=engine)
    assert got == expected
    assert not torch.equal(rest.conv2.weight, net().conv2.weight)
    for key, value in rest.state_dict().items():
        assert torch.equal(value, whole.state_dict()[key]), key


def test_spikes_come_back_as_they_were_fired() -> None:
    front, _ = split_behind(net(), "conv1_lif")
    spikes = PackedSpikes(front, DirectEncoder(T), SAMPLES)
    bits = spikes.pack(SAMPLES)
    assert bits.dtype is torch.uint8
    assert bits.shape == (30, T * 4 * 4 * 4 // 8)
    assert front.training
    front.eval()
    for module in front:
        if hasattr(module, "reset_mem"):
            module.reset_mem()
    expected = torch.stack([front(x) for x in DirectEncoder(T)(SAMPLES[5:9])])
    assert torch.equal(spikes(bits[5:9]), expected)
    assert 0.05 < expected.mean() < 0.95


def test_what_cannot_be_split_or_packed_is_told() -> None:
    with pytest.raises(ValueError, match=r"is split behind one of conv1, .*fc1_lif, fc2, got 'fc2_lif'"):
        split_behind(net(), "fc2_lif")
    made = network("Conv3x3x4-S2-FC3", SHAPE)
    front, _ = split_behind(made, "pool1")
    with pytest.raises(ValueError, match="only spikes, 0 or 1, are packed"):
        PackedSpikes(front, DirectEncoder(T), SAMPLES).pack(SAMPLES)
