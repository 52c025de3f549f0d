"""Tables of the documentation that are found out by trying, with public calls alone."""

from __future__ import annotations

import ast
import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path

import snntorch as snn
import torch
from torch import nn

import snntorch_brp
from snntorch_brp import (
    BRP,
    AdaptiveLeaky,
    BRPTrainer,
    Consolidation,
    OutputOnly,
    Propagation,
    RefractoryLeaky,
    Standardize,
    WSLinear,
    attach,
)

N = 4  # neurons of the layer that is tried
Make = Callable[[], nn.Module]

STEPWISE: dict[str, Make] = {
    "`RefractoryLeaky`": lambda: RefractoryLeaky(init_hidden=True),
    "`AdaptiveLeaky`": lambda: AdaptiveLeaky(init_hidden=True),
    "`snn.Leaky`": lambda: snn.Leaky(0.9, init_hidden=True),
    "`snn.Leaky`, reset to zero": lambda: snn.Leaky(0.9, init_hidden=True, reset_mechanism="zero"),
    "`snn.Leaky`, a decay for each neuron": lambda: snn.Leaky(torch.rand(N), init_hidden=True),
    "`snn.Leaky`, learned decay": lambda: snn.Leaky(0.9, init_hidden=True, learn_beta=True),
    "`snn.Leaky`, learned threshold": lambda: snn.Leaky(0.9, init_hidden=True, learn_threshold=True),
    "`snn.Leaky(reset_delay=False)`": lambda: snn.Leaky(0.9, init_hidden=True, reset_delay=False),
    "`snn.Lapicque`": lambda: snn.Lapicque(beta=0.9, init_hidden=True),
    "`snn.Synaptic`": lambda: snn.Synaptic(0.9, 0.8, init_hidden=True),
    "`snn.Alpha`": lambda: snn.Alpha(0.9, 0.8, init_hidden=True),
    "`snn.RLeaky`": lambda: snn.RLeaky(0.9, linear_features=N, init_hidden=True),
    "`snn.RSynaptic`": lambda: snn.RSynaptic(0.9, 0.8, linear_features=N, init_hidden=True),
    "`snn.DeltaLeaky`": lambda: snn.DeltaLeaky(0.3, 0.8, init_hidden=True),
    "`snn.SLSTM`": lambda: snn.SLSTM(N, N, init_hidden=True),
    "`snn.SConv2dLSTM`": lambda: snn.SConv2dLSTM(1, 2, 3, init_hidden=True),
}
WHOLE: dict[str, Make] = {
    "`snn.LeakyParallel`": lambda: snn.LeakyParallel(N, N),
    "`snn.StateLeaky`": lambda: snn.StateLeaky(0.9, N, output=True),
    "`snn.LinearLeaky`": lambda: snn.LinearLeaky(0.9, N, N),
    "`snn.AssociativeLeaky`": lambda: snn.AssociativeLeaky(N, N, 1, N, use_q_projection=False),
}
MODULES: dict[str, Make] = {
    "`nn.Linear`": lambda: nn.Linear(N, N),
    "`nn.Conv1d`": lambda: nn.Conv1d(1, 1, 1),
    "`nn.Conv2d`": lambda: nn.Conv2d(1, 1, 1),
    "`nn.Conv3d`": lambda: nn.Conv3d(1, 1, 1),
    "`nn.ConvTranspose2d`": lambda: nn.ConvTranspose2d(1, 1, 1),
    "`nn.AvgPool2d`, `nn.MaxPool2d` (and 1-D, and adaptive)": lambda: nn.AvgPool2d(1),
    "`nn.BatchNorm1d`, `nn.BatchNorm2d`": lambda: nn.BatchNorm1d(N),
    "`nn.LayerNorm`": lambda: nn.LayerNorm(N),
    "`nn.GroupNorm`": lambda: nn.GroupNorm(1, N),
    "`nn.Dropout` (and 1-D, 2-D)": lambda: nn.Dropout(0.1),
    "`nn.Flatten`, `nn.Identity`": lambda: nn.Flatten(),
    "`nn.ReLU`": lambda: nn.ReLU(),
    "`Standardize`": lambda: Standardize(N),
    "`WSLinear`, `WSConv1d`, `WSConv2d`": lambda: WSLinear(N, N),
}


def _network(neuron: nn.Module, between: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Linear(N, N), *([between] if between else []), neuron, nn.Linear(N, 10), _leaky())


def _leaky() -> nn.Module:
    return snn.Leaky(0.9, init_hidden=True)


def _answer(call: Callable[[], object]) -> str:
    """What a call says against itself; "yes" where it goes through."""
    logger = logging.getLogger("snntorch_brp")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        call()
    except (ValueError, RuntimeError, TypeError) as error:
        return str(error)
    finally:
        logger.setLevel(before)
    return "yes"


def _reason(answer: str) -> str:
    """An answer as a cell of a table: without the layer's name, which means nothing here."""
    if answer == "yes":
        return "yes"
    reason = re.sub(r"^(layer )?'\d'(, an? \w+,)? ", "", answer)
    return "no: " + reason.replace("|", "\\|").partition(";")[0]


def _ways(neuron: nn.Module) -> list[str]:
    net = _network(neuron)
    return [
        _reason(_answer(lambda: attach(net, BRP(), num_classes=10))),
        _reason(_answer(lambda: attach(net, BRP(), num_classes=10, credit="instant"))),
        _reason(_answer(lambda: attach(net, BRP(), num_classes=10, credit="trace"))),
        _reason(_answer(lambda: BRPTrainer(net, num_classes=10, engine="fused"))),
    ]


def neurons() -> str:
    """Each neuron of snnTorch under attach, online and fused."""
    rows = [[name, *_ways(make())] for name, make in {**STEPWISE, **WHOLE}.items()]
    head = ["neuron", "attach", 'online, `credit="instant"`', 'online, `credit="trace"`', "fused"]
    return _table(head, rows)


def modules() -> str:
    """Modules between neurons, in the fused engine."""
    rows = []
    for name, make in MODULES.items():
        net = _network(_leaky(), make())
        rows.append([name, "yes", _reason(_answer(lambda net=net: BRPTrainer(net, num_classes=10, engine="fused")))])
    return _table(["module between two neurons", "attach", "fused"], rows)


def refusals() -> str:
    """What does not work, and the sentence that says so."""
    looped = nn.Sequential(nn.Linear(N, 10))
    two = _network(_leaky())

    def shown(net: nn.Module) -> None:
        x, labels = torch.ones(3, 2, N), torch.tensor([0, 1])
        with attach(net, BRP(), num_classes=10) as brp:
            spikes = snntorch_brp.unroll(net, x)
            brp.backward(spikes.mean() + net[0].weight.pow(2).sum(), labels)

    cases: dict[str, Callable[[], object]] = {
        "a network without a spiking layer": lambda: attach(looped, BRP(), num_classes=10),
        "a rule that waits for the output, online": lambda: attach(
            two, snntorch_brp.ErrorProjection(), num_classes=10, credit="instant"
        ),
        "a penalty on hidden weights in the loss": lambda: shown(_network(_leaky())),
        "attaching twice": lambda: _twice(two),
        "`snn.SLSTM` whose sizes differ": lambda: attach(
            nn.Sequential(snn.SLSTM(3, N, init_hidden=True), nn.Linear(N, 10), _leaky()), BRP(), num_classes=10
        ),
        "a neuron without state of its own, fused": lambda: BRPTrainer(
            nn.Sequential(nn.Linear(N, N), snn.Leaky(0.9), nn.Linear(N, 10), _leaky()), num_classes=10, engine="fused"
        ),
        "a readout that does not spike, fused": lambda: BRPTrainer(
            nn.Sequential(*two, nn.Linear(10, 10)), num_classes=10, engine="fused"
        ),
        "a network that loops over time itself, fused": lambda: BRPTrainer(
            two, num_classes=10, engine="fused", loops_inside=True
        ),
        "a label out of range": lambda: BRPTrainer(two, num_classes=10).step(torch.ones(3, 1, N), torch.tensor([10])),
    }
    rows = []
    for case, call in cases.items():
        said = _answer(call)
        if said != "yes":  # what has come to work since belongs no more in the table
            rows.append([case, "<q>" + said.replace("|", "\\|") + "</q>"])
    return _table(["what does not work", "what it says"], rows)


def _twice(net: nn.Module) -> None:
    with attach(net, OutputOnly(), num_classes=10), attach(net, OutputOnly(), num_classes=10):
        pass


def tasks() -> str:
    """The tasks of the command line with their usual settings."""
    from snntorch_brp.cli import build_parser

    train = build_parser()._subparsers._group_actions[0].choices["train"]  # type: ignore[union-attr]
    choices = train._subparsers._group_actions[0].choices
    rows = []
    for name, parser in choices.items():
        usual = {action.dest: action for action in parser._actions}
        network = str(usual["model"].help).rpartition("default: ")[2].rstrip(")")
        values = [str(usual[key].default) for key in ("steps", "epochs", "lr", "batch_size")]
        rows.append([f"`{name}`", parser.description, f"`{network}`", *values])
    return _table(["task", "what it is", "network", "T", "epochs", "Adam's rate", "batch"], rows)


def rules() -> str:
    """Every propagation and consolidation that is a public name."""
    rows = []
    for name in snntorch_brp.__all__:
        kind = getattr(snntorch_brp, name)
        if not inspect.isclass(kind) or inspect.isabstract(kind):
            continue
        line = (kind.__doc__ or "").strip().partition("\n")[0].replace("``", "`")
        line = line.removesuffix("::").removesuffix(" with")
        if issubclass(kind, Propagation):
            said = "label-only" if kind.local and not kind.needs_output else "waits for the output"
            rows.append([f"`{name}`", "propagation", said if kind.local else "true gradient", line])
        elif issubclass(kind, Consolidation):
            rows.append([f"`{name}`", "consolidation", "compares samples" if kind.compares_samples else "", line])
    return _table(["class", "kind", "", "what it says of itself"], rows)


def house() -> str:
    """Every module and folder at the root of the package with the first line of its docstring."""
    rows = []
    package = Path(snntorch_brp.__file__).parent
    for path in sorted(package.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        source = path / "__init__.py" if path.is_dir() else path
        if path.name.startswith("_") or not source.exists() or source.suffix != ".py":
            continue
        line = (ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n")[0].replace("``", "`")
        line = re.sub(r":\w+:`", "`", line)  # roles, as in :mod:`...`
        rows.append([f"`{path.name}{'/' if path.is_dir() else ''}`", line])
    return _table(["where", "what"], rows)


def first_line(name: str) -> str:
    """What a public name is, by the first line of its docstring, as Markdown for a table."""
    line = (inspect.getdoc(getattr(snntorch_brp, name)) or "").partition("\n")[0].rstrip(":").removesuffix(" with")
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", line).replace("``", "`").replace("|", "\\|")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
