"""Steps that are taken in odd ways: the answer of the plain step, or an error; never another answer.

Odd is the memory of a batch, what a caller has switched on around the step, what the trainer went through before
(copied, saved, used for testing, stopped in the middle of a step), or a number that is not finite.
"""

from __future__ import annotations

import copy
import pickle
import random
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial

import pytest
import snntorch as snn
import torch
from mutate import Tell, numbers
from networks import K, Looped, spread
from torch import Tensor, nn

from snntorch_brp import BRPTrainer, RefractoryLeaky, WSLinear, attach
from snntorch_brp.finite import NotFinite
from snntorch_brp.neurons import constants, spiking_layers

T, B = 5, 6
Answer = tuple[float, int, list[Tensor | None]]  # loss, samples right, gradients
RULES = ["brp", "reward-prediction", "error", "sign", "backprop", "output-only", "decolle", "e-prop", "similarity"]


def leaky(draw: random.Random) -> nn.Module:
    """Any neuron that both engines know."""
    made: list[Callable[[], nn.Module]] = [
        lambda: RefractoryLeaky(0.6, 0.4, tau_ref=draw.choice((1, 3)), init_hidden=True),
        lambda: snn.Leaky(0.8, 0.4, init_hidden=True, reset_mechanism=draw.choice(("zero", "subtract", "none"))),
        lambda: snn.Leaky(0.8, 0.4, init_hidden=True, learn_beta=True, learn_threshold=True),
        lambda: snn.Synaptic(0.5, 0.8, threshold=0.4, init_hidden=True),
        lambda: snn.Alpha(0.8, 0.5, threshold=0.2, init_hidden=True),
        lambda: snn.Lapicque(beta=0.7, threshold=0.4, init_hidden=True),
    ]
    return draw.choice(made)()


def network(draw: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    """A small network, and the shape of a sample at one step."""
    kind = draw.random()
    if kind < 0.15:
        return spread(Looped()), (6,)
    if kind < 0.4:
        front = [nn.Conv2d(2, 3, 3, padding=1), leaky(draw), nn.AvgPool2d(2), nn.Flatten()]
        return spread(nn.Sequential(*front, nn.Linear(27, K), leaky(draw))), (2, 6, 6)  # type: ignore[return-value]
    between = draw.choice([[], [nn.BatchNorm1d(8)], [nn.Dropout(0.5)], [nn.LayerNorm(8)]])
    hidden = draw.choice([nn.Linear, WSLinear])(8, 7)
    layers = [nn.Linear(6, 8), *between, leaky(draw), hidden, leaky(draw), nn.Linear(7, K), leaky(draw)]
    net = spread(nn.Sequential(*layers))
    if draw.random() < 0.2:
        net[0].requires_grad_(False)  # type: ignore[index]
    return net, (6,)


class Subclass(Tensor):
    """A kind of tensor of the user's own."""


def of_inference(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()


MEMORY: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "strided": lambda x: torch.stack([x, x + 7], -1)[..., 0],
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "batch first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1) if x.dim() > 1 else x,
    "an offset": lambda x: torch.cat([x[:1], x])[1:],
    "wants a gradient": lambda x: x.clone().requires_grad_() if x.is_floating_point() else x,
    "of a graph": lambda x: x.clone().requires_grad_() * 1 if x.is_floating_point() else x,
    "of inference": of_inference,
    "a subclass": lambda x: x.as_subclass(Subclass),
    "a parameter": lambda x: nn.Parameter(x.clone()) if x.is_floating_point() else x,
    "of numpy": lambda x: torch.from_numpy(x.numpy()[::-1].copy()[::1]).flip(0),
    "of another integer": lambda x: x if x.is_floating_point() else x.to(torch.uint8),
}


@contextmanager
def default_dtype(dtype: torch.dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


AROUND: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": nullcontext,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
    "anomalies looked for": torch.autograd.detect_anomaly,
    "another device by default": lambda: torch.device("meta"),
    "saved on the CPU": torch.autograd.graph.save_on_cpu,
}


def pickled(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> BRPTrainer:
    try:
        return pickle.loads(pickle.dumps(trainer))
    except AttributeError as error:  # snnTorch's surrogates are functions within functions
        raise pickle.PicklingError(str(error)) from error


def stopped_halfway(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> BRPTrainer:
    """Ctrl-C where it hurts most: in the forward pass of the last module."""
    last = list(trainer.net.modules())[-1]

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    handle = last.register_forward_pre_hook(stop)
    with suppress(KeyboardInterrupt):
        trainer.step(x, labels)
    handle.remove()
    return trainer


def refused(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> BRPTrainer:
    with pytest.raises(ValueError, match="labels"):
        trainer.step(x, labels + K)
    return trainer


def after_testing(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> BRPTrainer:
    trainer.evaluate([(x[:, :2], labels[:2])])
    trainer.predict(1 - x)
    trainer.observe(x[:2])
    return trainer


def attached_by_hand(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> BRPTrainer:
    with attach(trainer.net, "brp", num_classes=K):
        trainer.net.eval()
    return trainer


def with_gradients(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> BRPTrainer:
    for p in trainer.net.parameters():
        p.grad = torch.full_like(p, 5.0)
    return trainer


def there_and_back(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> BRPTrainer:
    trainer.net.double().float()
    return trainer


BEFORE: dict[str, Callable[[BRPTrainer, Tensor, Tensor], BRPTrainer]] = {
    "nothing": lambda trainer, x, labels: trainer,
    "copied": lambda trainer, x, labels: copy.deepcopy(trainer),
    "pickled": pickled,
    "stopped halfway": stopped_halfway,
    "refused a batch": refused,
    "used for testing": after_testing,
    "attached by hand": attached_by_hand,
    "gradients left": with_gradients,
    "to float64 and back": there_and_back,
}


def in_a_thread(take: Callable[[], object]) -> object:
    """What a call in another thread gives, or raises."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(take())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def trainer_of(net: nn.Module, rule: str, engine: str) -> BRPTrainer:
    return BRPTrainer(
        copy.deepcopy(net), num_classes=K, propagation=rule, engine=engine,  # type: ignore[arg-type]
        optimizer=None, generator=torch.Generator().manual_seed(1), clip_norm=1.0,
    )  # fmt: skip


def learned(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> Answer:
    """One step from a known state of torch's random numbers: loss, samples right, and the gradients."""
    torch.manual_seed(7)
    result = trainer.step(x, labels)
    return result.loss, result.correct, [None if p.grad is None else p.grad.clone() for p in trainer.net.parameters()]


def check_equal(got: Answer, expected: Answer) -> None:
    """Equal up to sums in another order, as other strides may bring them about: some hundred terms of float32."""
    assert abs(got[0] - expected[0]) < 1e-6, f"loss {got[0]}, and not {expected[0]}"
    assert got[1] == expected[1], f"{got[1]} right, and not {expected[1]}"
    for one, other in zip(got[2], expected[2], strict=True):
        assert (one is None) == (other is None)
        if one is None or other is None:
            continue
        assert one.dtype is other.dtype
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), float((one - other).abs().max())


def attempt(draw: random.Random) -> str:
    """One odd step; whether it gave the answer or an error. Raises AssertionError where it gave another answer."""
    net, shape = network(draw)
    generator = torch.Generator().manual_seed(draw.randrange(2**31))
    x = (torch.rand(T, B, *shape, generator=generator) < 0.5).float()
    labels = torch.randint(0, K, (B,), generator=generator)
    rule, engine = draw.choice(RULES), draw.choice(("attach", "auto"))
    chosen = [draw.choice(list(table)) for table in (MEMORY, MEMORY, AROUND, BEFORE)]
    thread = draw.random() < 0.2
    told = [type(net).__name__, *map(type, net.modules()), rule, engine, *chosen, thread]
    try:
        plain = trainer_of(net, rule, engine)
        expected = learned(plain, x, labels)
    except (ValueError, RuntimeError):  # a rule and a network that do not go together
        return "no network"
    if draw.random() < 0.25:
        return poisoned(draw, trainer_of(net, rule, engine), x, labels)
    memory, of_labels, around, before = chosen
    odd_x, odd_labels = MEMORY[memory](x.clone()), MEMORY[of_labels](labels.clone())
    kept = odd_x.detach().clone(), odd_labels.clone()

    def take() -> Answer:
        with AROUND[around]():
            return learned(trainer, odd_x, odd_labels)

    try:
        trainer = BEFORE[before](trainer_of(net, rule, engine), x, labels)
        got = in_a_thread(take) if thread else take()
    except (ValueError, TypeError, RuntimeError, NotImplementedError, pickle.PicklingError) as error:
        if not str(error) or (memory, of_labels, around, before) == ("as it is", "as it is", "nothing", "nothing"):
            raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error
        return "an error"
    try:
        check_equal(got, expected)  # type: ignore[arg-type]
        assert torch.equal(odd_x, kept[0]), "the batch was written into"
        assert torch.equal(odd_labels, kept[1]), "the labels were written into"
        assert odd_x.grad is None, "the batch got a gradient"
    except AssertionError as error:
        raise AssertionError(f"{told}: {error}") from error
    return "the answer"


def poisoned(draw: random.Random, trainer: BRPTrainer, x: Tensor, labels: Tensor) -> str:
    """A number that is not finite, in a weight or a constant: neither training nor testing gives an answer."""
    weights = [p for name, p in trainer.net.named_parameters() if name.rpartition(".")[2] in ("weight", "bias")]
    fixed = [value for layer in spiking_layers(trainer.net).values() for value in constants(layer).values()]
    constant = draw.random() < 0.3
    places = draw.choice(fixed if constant else weights).data.view(-1)
    places[draw.randrange(len(places))] = draw.choice((float("nan"), float("nan"), float("inf"), -float("inf")))
    if any(isinstance(module, nn.Dropout) for module in trainer.net.modules()):
        return "the answer"  # which may drop it
    step = partial(trainer_of, trainer.net, "brp", "auto") if constant else partial(trainer.step, x, labels)
    for call in (step, lambda: trainer.evaluate([(x, labels)]), lambda: trainer.predict(x)):
        try:
            call()
        except (NotFinite, ValueError):
            continue
        raise AssertionError(f"an answer in spite of a weight that is not finite: {trainer.net}")
    return "not finite"


def trial(*, cases: int | None = None, seconds: float = 0.0) -> dict[str, int]:
    """Try so many, or for so long; how many ended how."""
    found: dict[str, int] = {}
    for number in numbers(cases, seconds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # silent layers are the rule here
            try:
                kind = attempt(random.Random(f"call {number}"))
            except Exception as error:
                raise AssertionError(f"case {number}: {type(error).__name__}: {error}") from error
        found[kind] = found.get(kind, 0) + 1
    return found


def test_odd_steps_give_the_answer_or_an_error() -> None:
    found = trial(cases=80)
    assert found["the answer"] > 20
    assert found["not finite"] > 4


@pytest.mark.hostile(weight=3)
def test_odd_steps_for_long(seconds: float, tell: Tell) -> None:
    found = trial(seconds=seconds)
    tell("calls", sum(found.values()), str(found))
