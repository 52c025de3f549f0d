"""Through NIR and back: the same spikes, or a clear error."""

from __future__ import annotations

import pytest
import snntorch as snn
import torch
from networks import K, spread
from torch import Tensor, nn

from snntorch_brp import RefractoryLeaky, reset_state, unroll
from snntorch_brp.nir import export_nir

pytest.importorskip("nir", reason="nir is not installed: pip install 'snntorch-brp[nir]'")
pytest.importorskip("nirtorch", reason="nirtorch is not installed: pip install 'snntorch-brp[nir]'")


def lif(**options: object) -> RefractoryLeaky:
    return RefractoryLeaky(0.25, 0.5, init_hidden=True, **options)  # type: ignore[arg-type]


def returned(net: nn.Sequential, x: Tensor) -> Tensor:
    """Spikes of the network that comes back from its NIR graph."""
    from snntorch.import_nir import import_from_nir

    back = import_from_nir(export_nir(net, x[0]))
    spikes = []
    for x_t in x:
        out = back(x_t)
        spikes.append(out[0] if isinstance(out, tuple) else out)
    return torch.stack(spikes)


@pytest.mark.parametrize("kind", ["dense", "convolutional", "learned beta", "snn.Leaky"])
def test_same_spikes_after_the_way_through_nir(kind: str) -> None:
    nets = {
        "dense": lambda: nn.Sequential(nn.Linear(6, 8), lif(), nn.Linear(8, K), lif()),
        "convolutional": lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), lif(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, K), lif()
        ),
        "learned beta": lambda: nn.Sequential(nn.Linear(6, 8), lif(learn_beta=True), nn.Linear(8, K), lif()),
        "snn.Leaky": lambda: nn.Sequential(
            nn.Linear(6, K), snn.Leaky(0.25, 0.5, reset_mechanism="zero", init_hidden=True)
        ),
    }
    net = nets[kind]()
    for module in net:
        if isinstance(module, nn.Linear | nn.Conv2d):
            spread(module)
    keys = {name: value.clone() for name, value in net.state_dict().items()}
    shape = (1, 1, 6, 6) if kind == "convolutional" else (5, 6)  # one sample, where there is a Flatten
    x = (torch.rand(12, *shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    expected = unroll(net, x)
    got = returned(net, x)
    assert 0 < expected.mean() < 1
    # NIR stores the time constant 1e-4/(1-g) in float32, so a membrane may move by a rounding; no spike may.
    assert torch.equal(got.reshape(expected.shape), expected)
    for name, value in net.state_dict().items():
        assert torch.equal(value, keys[name]), "the network itself was changed"


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        (lambda: lif(tau_ref=3), r"layer '1' cannot be exported to NIR.*tau_ref=3: train with tau_ref=1"),
        (lambda: lif(v_reset=-0.1), r"zero potentials, and this has v_rest=0\.0, v_reset=-0\.1"),
        (lambda: snn.Leaky(0.5, init_hidden=True), "only RefractoryLeaky and snn.Leaky"),
        (lambda: snn.Synaptic(0.5, 0.5, init_hidden=True), "only RefractoryLeaky and snn.Leaky"),
        (RefractoryLeaky, "use init_hidden=True"),
    ],
)
def test_what_nir_cannot_express_is_refused(neuron, message: str) -> None:
    net = nn.Sequential(nn.Linear(6, 8), neuron(), nn.Linear(8, K), lif())
    with pytest.raises(ValueError, match=message):
        export_nir(net, torch.zeros(1, 6))
    reset_state(net)
