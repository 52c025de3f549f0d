"""RefractoryLeaky in the place of snn.Leaky: the arguments of snn.Leaky, taken where eq. 2 leaves them a meaning."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import snntorch as snn
import torch
from networks import K, spread
from torch import Tensor, nn

from snntorch_brp import RefractoryLeaky, boxcar

T, B, N = 8, 3, 5


def currents(dtype: torch.dtype = torch.float32) -> Tensor:
    """Inputs [T, B, N] that make a neuron of θ = 0.5 fire at about a third of the steps."""
    return torch.randn(T, B, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(0.7).to(dtype)


def both(**options: object) -> tuple[RefractoryLeaky, snn.Leaky]:
    """Ours, and snnTorch's with the same surrogate and reset."""
    return (
        RefractoryLeaky(0.4, 0.5, detach_reset=True, **options),  # type: ignore[arg-type]
        snn.Leaky(0.4, 0.5, **{"spike_grad": boxcar(), "reset_mechanism": "zero", **options}),
    )


def run(lif: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    mem, spikes, membranes = lif.reset_mem(), [], []
    for x_t in x:
        spk, mem = lif(x_t) if lif.init_hidden else lif(x_t, mem)
        spikes.append(spk)
        membranes.append(mem)
    return torch.stack(spikes), torch.stack(membranes)


def test_every_argument_of_leaky_is_known_by_name() -> None:
    ours, theirs = inspect.signature(RefractoryLeaky).parameters, inspect.signature(snn.Leaky).parameters
    assert set(theirs) <= set(ours)
    assert list(theirs)[:2] == list(ours)[:2] == ["beta", "threshold"]


@pytest.mark.parametrize(
    "options",
    [
        {"reset_mechanism": "zero"},
        {"reset_delay": True},
        {"reset_delay": False},
        {"graded_spikes_factor": 3.0},
        {"graded_spikes_factor": torch.linspace(0.5, 2, N)},
        {"graded_spikes_factor": 0.3, "learn_graded_spikes_factor": True},
        {"graded_spikes_factor": 2, "reset_delay": False},
        {"surrogate_disable": True},
        {"inhibition": False, "state_quant": False},
        {"init_hidden": True, "output": True, "graded_spikes_factor": 3.0},
        {"learn_beta": True, "learn_threshold": True, "learn_graded_spikes_factor": True},
    ],
    ids=str,
)
def test_equals_leaky_under_each_argument(options: dict[str, object]) -> None:
    """Spikes and membranes bit for bit, gradients of the input and of what is learned."""
    found = []
    for lif in both(**options):
        x = currents().requires_grad_()
        spikes, membranes = run(lif, x)
        assert 0 < (spikes != 0).float().mean() < 1
        (spikes.square().sum() + membranes.detach().sum() + 0 * x.sum()).backward()
        learned = {name: p.grad for name, p in lif.named_parameters()}
        found.append((spikes.detach(), membranes.detach(), x.grad, learned))
    (spikes, membranes, grad, learned), (spikes_, membranes_, grad_, learned_) = found
    assert torch.equal(spikes, spikes_)
    assert torch.equal(membranes, membranes_)
    if options.get("reset_delay", True):  # without the delay snnTorch does not detach its reset, so see below
        torch.testing.assert_close(grad, grad_)
    assert learned.keys() == learned_.keys()
    for name, value in learned.items():
        assert value is not None, name
        if options.get("reset_delay", True):
            torch.testing.assert_close(value, learned_[name])


def test_without_delay_gradients_equal_leaky_s_where_both_let_them_through_the_reset() -> None:
    grads = []
    for lif in (
        RefractoryLeaky(0.4, 0.5, reset_delay=False),
        snn.Leaky(0.4, 0.5, spike_grad=boxcar(), reset_mechanism="zero", reset_delay=False),
        RefractoryLeaky(0.4, 0.5),
    ):
        x = currents(torch.float64).requires_grad_()
        weight = torch.randn(T, B, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (weight * run(lif.double(), x)[0]).sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[0], grads[1])
    torch.testing.assert_close(grads[0], grads[2])  # where the reset is shown changes nothing of what is learned


def test_disabled_surrogates_keep_the_dtype_and_send_no_gradient() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        x = currents(dtype).requires_grad_()
        spikes, membranes = run(RefractoryLeaky(0.4, 0.5, surrogate_disable=True).to(dtype), x)
        assert spikes.dtype is membranes.dtype is dtype
        assert not spikes.requires_grad
        assert torch.equal(spikes, run(RefractoryLeaky(0.4, 0.5).to(dtype), x)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_mechanism": "subtract"}, r"resets to zero \(eq. 2\), and not by reset_mechanism='subtract'"),
        ({"reset_mechanism": "none"}, "reset_mechanism='none'"),
        ({"inhibition": True}, r"RefractoryLeaky has no inhibition: use snn.Leaky\("),
        ({"state_quant": lambda mem: mem}, "RefractoryLeaky has no state_quant"),
        ({"reset_delay": False, "tau_ref": 2}, "reset_delay=False needs tau_ref=1 and zero potentials, got tau_ref=2"),
        ({"reset_delay": False, "v_reset": -0.1}, "v_reset=-0.1"),
    ],
)
def test_the_rest_is_refused_by_name(options: dict[str, object], message: str) -> None:
    before = len(snn.SpikingNeuron.instances)
    with pytest.raises(ValueError, match=message):
        RefractoryLeaky(0.4, 0.5, **options)  # type: ignore[arg-type]
    assert len(snn.SpikingNeuron.instances) == before


def test_another_reset_cannot_be_assigned_later() -> None:
    lif = RefractoryLeaky()
    with pytest.raises(ValueError, match="not by reset_mechanism='subtract'"):
        lif.reset_mechanism = "subtract"
    assert lif.reset_mechanism == "zero"
    assert lif.reset_mechanism_val == snn.SpikingNeuron.reset_dict["zero"]
    lif.reset_mechanism = "zero"


def test_settings_are_shown_and_survive_copies() -> None:
    lif = RefractoryLeaky(0.2, 0.5, graded_spikes_factor=2.0, surrogate_disable=True, reset_delay=False)
    shown = "RefractoryLeaky(beta=0.2, threshold=0.5, tau_ref=1, graded_spikes_factor=2, surrogate_disable=True, "
    assert str(lif) == shown + "reset_delay=False)"
    for twin in (copy.deepcopy(lif), pickle.loads(pickle.dumps(lif))):
        assert str(twin) == str(lif)
        assert torch.equal(run(twin, currents())[0], run(lif, currents())[0])


# -- what snnTorch asks of its own Leaky ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (4, 1), (2, 3, 5, 5)])
def test_shapes_stay(shape: tuple[int, ...]) -> None:
    lif = RefractoryLeaky(beta=0.5)
    spk, mem = lif(torch.rand(shape), lif.reset_mem())
    assert spk.shape == mem.shape == shape
    hidden = RefractoryLeaky(beta=0.5, init_hidden=True)
    assert hidden(torch.rand(shape)).shape == shape


def test_the_membrane_is_lost_with_a_spike() -> None:
    _, mem = run(RefractoryLeaky(beta=0.5, threshold=0.5), torch.tensor([0.4, 0.4, 0.0, 0.2]).reshape(4, 1, 1))
    assert mem.flatten().tolist() == pytest.approx([0.4, 0.6, 0.0, 0.2])  # 0.6 fires, and nothing of it is left


@pytest.mark.parametrize("init_hidden", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"tau_ref": 3}, {"reset_delay": False}, {"learn_graded_spikes_factor": True}], ids=str
)
def test_compiles_without_a_break(options: dict[str, object], init_hidden: bool) -> None:
    lif = RefractoryLeaky(0.5, 0.5, init_hidden=init_hidden, output=True, learn_beta=True, **options)  # type: ignore[arg-type]
    expected = run(lif, currents())

    def whole(x: Tensor) -> tuple[Tensor, Tensor]:
        return run(lif, x)

    torch._dynamo.reset()
    got = torch.compile(whole, fullgraph=True, backend="eager")(currents())
    torch.testing.assert_close(got, expected)


def test_truncated_backpropagation_through_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """snn.Leaky.detach_hidden() cuts membranes in place: what is kept of older spikes must be cut too."""
    lif = RefractoryLeaky(0.5, 0.5, tau_ref=3, init_hidden=True, learn_beta=True)
    monkeypatch.setattr(RefractoryLeaky, "instances", [lif])  # snnTorch's list, without the neurons of other tests
    cut, x = [], currents()
    for part in x.split(2):
        spikes = torch.stack([lif(x_t) for x_t in part])
        cut.append(spikes.detach())
        spikes.sum().backward()
        lif.detach_hidden()
    lif.reset_mem()
    assert torch.equal(torch.cat(cut), torch.stack([lif(x_t) for x_t in x]))


def test_nir_gives_networks_of_this_class_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """snnTorch's own import, with this class in the place of its Leaky."""
    pytest.importorskip("nir", reason="nir is not installed: pip install 'snntorch-brp[nir]'")
    pytest.importorskip("nirtorch", reason="nirtorch is not installed: pip install 'snntorch-brp[nir]'")
    from snntorch.import_nir import import_from_nir

    from snntorch_brp.nir import export_nir

    def neuron(**options: object) -> RefractoryLeaky:
        return RefractoryLeaky(0.25, 0.5, init_hidden=True, **options)  # type: ignore[arg-type]

    net = nn.Sequential(nn.Linear(6, 8), neuron(), nn.Linear(8, K), neuron())
    spread(net)
    x = (torch.rand(T, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    expected = torch.stack([net(x_t) for x_t in x])
    graph = export_nir(net, x[0])
    monkeypatch.setattr(snn, "Leaky", RefractoryLeaky)
    back = import_from_nir(graph)
    assert sum(isinstance(module, RefractoryLeaky) for module in back.modules()) == 2
    got = [back(x_t) for x_t in x]
    assert torch.equal(torch.stack([step[0] if isinstance(step, tuple) else step for step in got]), expected)
    with pytest.raises(ValueError, match="these are graded"):
        export_nir(nn.Sequential(nn.Linear(6, K), neuron(graded_spikes_factor=2.0)), x[0])
