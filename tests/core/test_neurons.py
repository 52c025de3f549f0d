"""RefractoryLeaky against snn.Leaky, against the equation, and in every way a snnTorch neuron is used."""

from __future__ import annotations

import copy
import io
import itertools

import oracle
import pytest
import snntorch as snn
import torch
from snntorch import utils
from torch import Tensor, nn

from snntorch_brp import RefractoryLeaky, boxcar, reset_state
from snntorch_brp.neurons import spiking_layers

T, B, N = 12, 3, 5


def currents(dtype: torch.dtype = torch.float64, seed: int = 0, size: int = B) -> Tensor:
    """Inputs [T, B, N] that make a neuron of θ = 0.5 fire at about a third of the steps."""
    return (
        torch.randn(T, size, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(0.7).to(dtype)
    )


def explicit(lif: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    mem, spikes, membranes = lif.reset_mem(), [], []
    for x_t in x:
        spk, mem = lif(x_t, mem)
        spikes.append(spk)
        membranes.append(mem)
    return torch.stack(spikes), torch.stack(membranes)


def hidden(lif: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([lif(x_t) for x_t in x])


# -- the same forward pass as snn.Leaky -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("beta", [0.2, 0.9, 1.0, torch.linspace(0, 1, N)])
def test_equals_leaky_bit_for_bit(dtype: torch.dtype, beta) -> None:
    ours = RefractoryLeaky(beta, 0.5).to(dtype)
    host = snn.Leaky(beta, 0.5, reset_mechanism="zero", spike_grad=boxcar()).to(dtype)
    for got, expected in zip(explicit(ours, currents(dtype)), explicit(host, currents(dtype)), strict=True):
        assert got.dtype is dtype
        assert torch.equal(got, expected)


def test_equals_leaky_bit_for_bit_with_init_hidden() -> None:
    ours = RefractoryLeaky(0.3, 0.5, init_hidden=True)
    host = snn.Leaky(0.3, 0.5, reset_mechanism="zero", init_hidden=True)
    x = currents(torch.float32)
    assert torch.equal(hidden(ours, x), hidden(host, x))
    assert 0 < hidden(ours, x).mean() < 1


def test_equals_leaky_under_bf16_autocast() -> None:
    x = currents(torch.float32)
    outputs = []
    for lif in (RefractoryLeaky(0.3, 0.5), snn.Leaky(0.3, 0.5, reset_mechanism="zero", spike_grad=boxcar())):
        torch.manual_seed(0)
        fc = nn.Linear(N, N)
        with torch.autocast("cpu", torch.bfloat16):
            spikes, membranes = explicit(lif, fc(x))
        outputs.append((spikes, membranes))
        spikes.float().sum().backward()
        assert fc.weight.grad.isfinite().all()
    assert torch.equal(outputs[0][0], outputs[1][0])
    assert torch.equal(outputs[0][1], outputs[1][1])


def test_gradient_equals_leaky_where_both_detach_the_reset() -> None:
    grads = []
    for lif in (
        RefractoryLeaky(0.25, 0.5, detach_reset=True),
        snn.Leaky(0.25, 0.5, reset_mechanism="zero", spike_grad=boxcar()),
    ):
        x = currents().requires_grad_()
        explicit(lif.double(), x)[0].square().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads)


# -- eq. 2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau_ref", [1, 2, 3])
@pytest.mark.parametrize(("v_rest", "v_reset"), [(0.0, 0.0), (0.1, -0.25)])
@pytest.mark.parametrize("detach", [True, False])
def test_equals_the_equation_forward_and_backward(tau_ref: int, v_rest: float, v_reset: float, detach: bool) -> None:
    options = {"tau_ref": tau_ref, "v_rest": v_rest, "v_reset": v_reset, "detach_reset": detach}
    lif, neuron = RefractoryLeaky(0.25, 0.5, **options).double(), oracle.Neuron(0.25, 0.5, **options)
    x = currents().requires_grad_()
    weight = torch.randn(T, B, N, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    spikes, membranes = explicit(lif, x)
    (weight * spikes).sum().backward()
    direct = oracle.linear(torch.eye(N).double().numpy(), torch.zeros(N).double().numpy())
    for b in range(B):
        trace = oracle.run(direct, neuron, x[:, b].tolist())
        torch.testing.assert_close(membranes[:, b], torch.tensor(trace.v, dtype=torch.float64))
        assert spikes[:, b].tolist() == trace.s
        a = oracle.adjoint(neuron, trace, weight[:, b].tolist())
        torch.testing.assert_close(x.grad[:, b], torch.tensor(a, dtype=torch.float64))


def test_refractory_slows_but_does_not_block() -> None:
    lif = RefractoryLeaky(0.5, 0.5, tau_ref=3)
    _, mem = explicit(lif, torch.tensor([1.0, 0.3, 0.4, 0.1, 0.1, 0.1]).reshape(6, 1, 1))
    # fired at 0, so what is left of the past is forgotten until 3 steps later, but every input counts
    assert mem.flatten().tolist() == pytest.approx([1.0, 0.3, 0.4, 0.1, 0.15, 0.175])


# -- no sequence leaks into the next --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset_mem", "reset_state", "utils.reset", "another mem", "by hand", "batch size"])
def test_spikes_of_the_past_are_forgotten_with_the_membrane(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snn.SpikingNeuron, "instances", [])  # utils.reset resets all that this process ever made
    lif = RefractoryLeaky(0.5, 0.5, tau_ref=3, init_hidden=how != "another mem")
    x = currents(torch.float32)
    first = explicit(lif, x)[0] if how == "another mem" else hidden(lif, x)
    if how == "reset_mem":
        lif.reset_mem()
    elif how == "reset_state":
        reset_state(nn.Sequential(nn.Sequential(lif)))
    elif how == "utils.reset":
        utils.reset(nn.Sequential(lif))
    elif how == "by hand":
        lif.mem = torch.zeros(B, N)
    elif how == "batch size":
        lif(x[0, :1])
        lif(torch.zeros(B, N))  # shape changes back: the membrane starts anew, and this step adds nothing
    again = explicit(lif, x)[0] if how == "another mem" else hidden(lif, x)
    assert torch.equal(again, first)


def test_batch_sizes_may_change() -> None:
    lif = RefractoryLeaky(0.3, 0.5, tau_ref=2, v_rest=0.1, init_hidden=True)
    for size in (3, 1, 4):
        lif.reset_mem()
        x = currents(torch.float32, size=size)
        alone = [
            hidden(RefractoryLeaky(0.3, 0.5, tau_ref=2, v_rest=0.1, init_hidden=True), x[:, b : b + 1])
            for b in range(size)
        ]
        assert torch.equal(hidden(lif, x), torch.cat(alone, 1))


def test_reset_state_reaches_any_depth_and_this_network_alone() -> None:
    mine, other = (
        nn.Sequential(nn.Sequential(snn.Leaky(0.5, init_hidden=True)), snn.Synaptic(0.5, 0.5, init_hidden=True))
        for _ in range(2)
    )
    for net in (mine, other):
        net(torch.ones(B, N))
    reset_state(mine)
    assert not mine[0][0].mem.any()
    assert not mine[1].syn.any()
    assert other[0][0].mem.all()


def test_reset_after_a_step_with_a_graph_starts_without_one() -> None:
    lif = RefractoryLeaky(0.5, 0.5, tau_ref=2, init_hidden=True)
    lif(torch.ones(B, N, requires_grad=True))
    lif.reset_mem()
    assert not lif.mem.requires_grad
    assert not lif(torch.ones(B, N)).requires_grad


# -- copies, files, devices, dtypes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tau_ref", [1, 3])
def test_deepcopy_also_in_mid_sequence(tau_ref: int) -> None:
    lif = RefractoryLeaky(0.5, 0.5, tau_ref=tau_ref, init_hidden=True)
    x = currents(torch.float32).requires_grad_()
    hidden(lif, x[:6])
    twin = copy.deepcopy(lif)
    assert not twin.mem.requires_grad
    assert torch.equal(hidden(twin, x[6:]), hidden(lif, x[6:]))
    assert twin.mem is not lif.mem


def test_saved_and_loaded() -> None:
    lif = RefractoryLeaky(0.3, 0.6, tau_ref=2, v_reset=-0.1, detach_reset=True, learn_beta=True)
    lif(currents(torch.float32)[0], lif.reset_mem())
    file = io.BytesIO()
    torch.save(lif, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    fresh = RefractoryLeaky(0.9, 0.1, tau_ref=2, v_reset=-0.1, detach_reset=True, learn_beta=True)
    fresh.load_state_dict(lif.state_dict())
    x = currents(torch.float32, seed=1)
    for other in (loaded, fresh):
        assert torch.equal(explicit(other, x)[1], explicit(lif, x)[1])
    assert lif.state_dict().keys() == snn.Leaky(0.3, learn_beta=True).state_dict().keys()


def test_to_another_dtype_and_device_in_mid_sequence() -> None:
    lif = RefractoryLeaky(0.5, 0.5, tau_ref=3, init_hidden=True)
    hidden(lif, currents(torch.float32))
    lif.double()
    assert lif(currents()[0]).dtype is torch.float64
    lif.to("meta")
    assert lif(torch.ones(B, N, device="meta")).device.type == "meta"


def test_learned_beta_and_threshold_get_gradients() -> None:
    lif = RefractoryLeaky(0.5, 0.5, learn_beta=True, learn_threshold=True)
    explicit(lif, currents(torch.float32))[0].sum().backward()
    assert lif.beta.grad.abs() > 0
    assert lif.threshold.grad.abs() > 0


def test_convolutional_shapes_and_both_output_styles() -> None:
    x = torch.rand(2, 3, 4, 4)
    for init_hidden, output in itertools.product([False, True], repeat=2):
        lif = RefractoryLeaky(init_hidden=init_hidden, output=output)
        got = lif(x) if init_hidden else lif(x, lif.reset_mem())
        spk = got[0] if isinstance(got, tuple) else got
        assert isinstance(got, tuple) is (output or not init_hidden)
        assert spk.shape == x.shape
    with pytest.raises(TypeError, match="should not be passed"):
        RefractoryLeaky(init_hidden=True)(x, x)


@pytest.mark.parametrize("tau_ref", [0, -1, 1.5])
def test_tau_ref_must_be_a_whole_number(tau_ref) -> None:
    with pytest.raises(ValueError, match="tau_ref must be a whole number of steps, at least 1"):
        RefractoryLeaky(tau_ref=tau_ref)


def test_settings_are_shown() -> None:
    assert str(RefractoryLeaky(0.2, 0.5)) == "RefractoryLeaky(beta=0.2, threshold=0.5, tau_ref=1)"
    shown = str(RefractoryLeaky(torch.ones(4), tau_ref=2, v_reset=-0.1, detach_reset=True))
    assert shown == "RefractoryLeaky(beta=<(4,)>, threshold=0.5, tau_ref=2, v_reset=-0.1, detach_reset=True)"


def test_spiking_layers_of_every_kind() -> None:
    net = nn.Sequential(nn.Linear(2, 2), snn.Leaky(0.5), nn.Sequential(snn.LeakyParallel(2, 2)), RefractoryLeaky())
    assert list(spiking_layers(net)) == ["1", "2.0", "3"]
