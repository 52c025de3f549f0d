"""Pooled readings, pooled similarities, sums and settings of a layer: held to their objectives by autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp import PseudoGradient, RefractoryLeaky, SimilarityMatching, StateDifference, attach
from snntorch_brp.activity import Activity
from snntorch_brp.composition import PerLayer, Sum
from snntorch_brp.feedback import Feedback
from snntorch_brp.layer_view import LayerView
from snntorch_brp.named import of_layer
from snntorch_brp.places import over_places
from snntorch_brp.propagation import BRP
from snntorch_brp.reading import PooledReading
from snntorch_brp.rules import STLLR
from snntorch_brp.sequence import unroll
from snntorch_brp.training import rate_mse

K, B, SHAPE = 3, 5, (4, 6, 7)
GENERATOR = torch.Generator().manual_seed(0)
RATE = torch.rand(B, *SHAPE, generator=GENERATOR, dtype=torch.float64)
B_L = torch.randn(K, *SHAPE, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1, 1, 0])
LABEL = F.one_hot(LABELS, K).double()[None]


def window(rate: Tensor = RATE, name: str = "conv1_lif", label: Tensor | None = LABEL) -> Activity:
    return Activity(
        torch.zeros(2, *rate.shape, dtype=rate.dtype),
        membrane=torch.ones(2, *rate.shape, dtype=rate.dtype),
        rate=rate,
        label=label,
        layer=LayerView(name, RefractoryLeaky()),
    )


def pooled(rate: Tensor, grid: int) -> Tensor:
    """Means over the regions, region by region: PyTorch's bounds of an adaptive pooling."""
    H, W = rate.shape[2:]
    cells = []
    for i in range(grid):
        for j in range(grid):
            rows = slice(i * H // grid, -(-(i + 1) * H // grid))
            columns = slice(j * W // grid, -(-(j + 1) * W // grid))
            cells.append(rate[:, :, rows, columns].mean((2, 3)))
    return torch.stack(cells, dim=2).flatten(1)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_places_are_means_over_regions(grid: int) -> None:
    torch.testing.assert_close(over_places(RATE, grid), pooled(RATE, grid))


def test_places_can_be_spread_kept_or_absent() -> None:
    expected = RATE.flatten(2).var(2, correction=0).add(1e-6).sqrt()
    torch.testing.assert_close(over_places(RATE, "std"), expected)
    assert torch.equal(over_places(RATE, None), RATE.flatten(1))
    assert torch.equal(over_places(RATE, 9), RATE.flatten(1))  # no place is made twice
    assert torch.equal(over_places(RATE[:, :, 0, 0], 2), RATE[:, :, 0, 0])


@pytest.mark.parametrize("center", ["sample", "batch"])
@pytest.mark.parametrize("places", [None, 1, 2, 3])
def test_a_pooled_reading_sends_the_gradient_of_its_cross_entropy(places: int | None, center: str) -> None:
    """By torch's cosine similarity and cross-entropy, from an independent pooling; the batch's mean is held fixed."""
    rate = RATE.clone().requires_grad_()
    read, rows = (x.flatten(1) if places is None else pooled(x, places) for x in (rate, B_L))
    read = read - (read.mean(1, keepdim=True) if center == "sample" else read.detach().mean(0))
    cosines = torch.cosine_similarity(read[:, None], rows[None], dim=2)
    F.cross_entropy(7 * cosines, LABELS, reduction="sum").backward()
    rule = PooledReading(kappa=7, places=places, center=center)  # type: ignore[arg-type]
    delta = rule.delta(LABEL, window=window(), feedback=B_L, output=None)
    assert rate.grad is not None
    assert rate.grad.abs().max() > 0.1
    torch.testing.assert_close(delta, rate.grad[None], rtol=1e-9, atol=1e-12)
    signal = rule.signal(LABEL, window=window(), feedback=B_L, output=None)
    torch.testing.assert_close(signal[0], (7 * cosines).softmax(1).detach() - LABEL[0])


def test_a_temperature_means_the_same_in_layers_of_any_size_and_rate() -> None:
    """The same activity four times over, and at a tenth of the rate, is read alike."""
    rule = PooledReading(kappa=10, places=2)
    read = rule.signal(LABEL, window=window(), feedback=B_L, output=None)
    wide = rule.signal(LABEL, window=window(RATE.repeat(1, 4, 1, 1)), feedback=B_L.repeat(1, 4, 1, 1), output=None)
    quiet = rule.signal(LABEL, window=window(0.1 * RATE), feedback=B_L, output=None)
    torch.testing.assert_close(wide, read)
    torch.testing.assert_close(quiet, read)


@pytest.mark.parametrize("target", ["sent", "label"])
@pytest.mark.parametrize("places", [None, 2, "std"])
@pytest.mark.parametrize("center", ["sample", "batch"])
def test_pooled_similarities_are_the_gradient_of_their_objective(
    center: str, places: int | str | None, target: str
) -> None:
    rate = RATE.clone().requires_grad_()
    if places == "std":
        seen = (rate.flatten(2).var(2, correction=0) + 1e-6).sqrt()
    else:
        seen = rate.flatten(1) if places is None else pooled(rate, 2)
    seen = seen - (seen.detach().mean(0) if center == "batch" else seen.mean(1, keepdim=True))
    delta = B_L[LABELS][None]
    sent = delta[0].flatten(1) if target == "sent" else LABEL[0] - 1 / K
    alike, wanted = (torch.cosine_similarity(x[:, None], x[None], dim=2) for x in (seen, sent))
    (0.25 * (alike - wanted).square().mean()).backward()
    rule = SimilarityMatching(center=center, places=places, target=target)  # type: ignore[arg-type]
    got = rule.gradients(delta, window()).spikes
    assert got is not None
    assert rate.grad is not None
    assert rate.grad.abs().max() > 1e-4
    torch.testing.assert_close(got / B, rate.grad[None], rtol=1e-9, atol=1e-12)


def test_a_target_of_labels_asks_for_labels() -> None:
    with pytest.raises(ValueError, match="compares labels, and this window was given none"):
        SimilarityMatching(target="label").gradients(B_L[LABELS][None], window(label=None))


def test_silent_layers_get_finite_gradients() -> None:
    silent = window(torch.zeros(B, *SHAPE), label=LABEL.float())
    label, feedback = LABEL.float(), B_L.float()
    assert torch.isfinite(PooledReading(places=2).delta(label, window=silent, feedback=feedback, output=None)).all()
    for places in (2, "std"):
        rule = SimilarityMatching(places=places, target="label")  # type: ignore[arg-type]
        assert torch.isfinite(rule.gradients(feedback[LABELS][None], silent).spikes).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("places", [0, -1, "mean", True, 1.5])
def test_places_must_be_a_grid(places: object) -> None:
    with pytest.raises(ValueError, match="places must be"):
        SimilarityMatching(places=places)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="places must be"):
        PooledReading(places=places)  # type: ignore[arg-type]


def test_options_must_be_known() -> None:
    with pytest.raises(ValueError, match="center must be"):
        PooledReading(center="row")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target must be"):
        SimilarityMatching(target="row")  # type: ignore[arg-type]


def test_a_sum_is_a_weighted_sum_of_all_fields() -> None:
    """Of a gradient on spikes, one on membranes and one on traces, which are folded into currents."""
    delta, timing = B_L[LABELS][None], STLLR().consolidation
    parts = [(0.25, PseudoGradient()), (2.0, StateDifference()), (1.0, PseudoGradient()), (0.5, timing)]
    got = Sum(parts).gradients(delta, window())
    torch.testing.assert_close(got.spikes, 1.25 * delta)
    torch.testing.assert_close(got.membrane, 2 * StateDifference().gradients(delta, window()).membrane)
    own = timing.gradients(delta, window()).folded(timing, window())
    assert own.current is not None
    torch.testing.assert_close(got.current, 0.5 * own.current)
    assert got.traced is None
    assert Sum(parts).keeps == {"membrane", "current"} | timing.keeps


def test_a_sum_asks_for_whole_batches_where_a_part_does() -> None:
    assert Sum([(1, PseudoGradient()), (1, SimilarityMatching())]).compares_samples
    assert not Sum([(1, PseudoGradient()), (1, StateDifference())]).compares_samples
    assert PooledReading(center="batch").compares_samples
    assert not PooledReading().compares_samples


def test_every_layer_learns_by_its_own_consolidation() -> None:
    rule = PerLayer({"conv1*": StateDifference(state="rate"), "*": PseudoGradient()})
    delta = B_L[LABELS][None]
    first, second = (rule.gradients(delta, window(name=name)).spikes for name in ("conv1_lif", "conv2_lif"))
    torch.testing.assert_close(first, StateDifference(state="rate").gradients(delta, window()).spikes)
    torch.testing.assert_close(second, delta)


def test_nothing_is_made_of_nothing() -> None:
    with pytest.raises(ValueError, match="a sum of nothing"):
        Sum([])
    with pytest.raises(ValueError, match="no consolidation"):
        PerLayer({})


def test_a_layer_that_no_pattern_matches_is_named() -> None:
    assert of_layer({"conv?_lif": 1, "*": 2}, "conv1_lif") == 1
    assert of_layer({"conv?_lif": 1, "*": 2}, "fc1_lif") == 2
    with pytest.raises(ValueError, match="no setting for layer 'fc1_lif': none of 'conv1' matches"):
        of_layer({"conv1": 1}, "fc1_lif")


def test_feedback_has_regions_of_its_own_in_each_layer() -> None:
    feedback = Feedback(K, regions={"conv1*": 2, "conv2*": 1, "*": None})
    first, second, third = (feedback.matrix(name, (4, 6, 6)) for name in ("conv1_lif", "conv2_lif", "conv3_lif"))
    assert torch.equal(first[:, :, :3, :3], first[:, :, :1, :1].expand(-1, -1, 3, 3))
    assert torch.equal(second, second[:, :, :1, :1].expand_as(second))
    assert len(third.unique()) == third.numel()
    with pytest.raises(ValueError, match="regions must be at least 1, got 0"):
        Feedback(K, regions={"*": 0})


def test_under_attach_a_sum_of_rules_reaches_every_convolution() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), RefractoryLeaky(init_hidden=True), nn.Conv2d(4, 4, 3), RefractoryLeaky(init_hidden=True),
        nn.Flatten(), nn.Linear(64, K), RefractoryLeaky(init_hidden=True),
    )  # fmt: skip
    rule = Sum([(0.5, SimilarityMatching(places=2, target="label")), (0.5, PseudoGradient())])
    for synapse in (net[0], net[2], net[5]):
        synapse.weight.data *= 4
    x = torch.rand(3, B, 1, 8, 8)
    with attach(net, PooledReading(places=2), num_classes=K, consolidation=rule, feedback=Feedback(K, regions=2)) as h:
        h.backward(rate_mse(unroll(net, x), LABELS), LABELS)
    assert all(net[i].weight.grad.abs().max() > 0 for i in (0, 2, 5))


def test_pooled_similarities_leave_the_label_alone_to_teach() -> None:
    """What is compared under target="label" does not hear of δ."""
    rule = SimilarityMatching(places=2, target="label")
    torch.testing.assert_close(
        rule.gradients(B_L[LABELS][None], window()).spikes, rule.gradients(-3 * B_L[LABELS][None], window()).spikes
    )
    assert BRP().label(LABELS, K, 2, torch.float64).shape == (1, B, K)
