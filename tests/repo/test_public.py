"""What is public: the names are written down here, so that a change is a decision; the tests use nothing else."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import snntorch_brp

PUBLIC = {
    "snntorch_brp": """
        Activity AdaptiveLeaky Attached BRP BRPTrainer Backprop Callback Checkpoints Consolidation Correlation
        DifferentialHebb DirectEncoder EarlyStopping ErrorProjection Feedback Gradients Online OutputOnly PerLayer
        PooledReading Propagation PseudoGradient RateEncoder RefractoryLeaky RewardPrediction STDP SignProjection
        SimilarityMatching Standardize StateDifference Sum WSConv1d WSConv2d WSLinear __version__ attach boxcar
        calibrate consolidation_named firing_fault firing_message label_spikes load observe parameter_groups
        patch_filters propagation_named rate_encode reset_state rules trace unroll
    """,
    "snntorch_brp.attachment": "Attached Online attach",
    "snntorch_brp.training": """
        BRPTrainer Callback EarlyStopping EpochResult Evaluation Loss Progress StepResult Trainer rate_mse
    """,
    "snntorch_brp.analysis": """
        ActivityMonitor AlignmentMonitor Energy EnergyModel LayerStatistics Statistics SynapseStatistics analyse
        gradient_angles layer_gradients
    """,
    "snntorch_brp.fused": """
        FusedEngine LoopedEngine NotFusible declined plan register_neuron register_stateless register_synapse
    """,
    "snntorch_brp.shifting": """
        CreditTask DIVIDED EXACT Events Fired PUBLISHED Rule SILENT Schedule ShiftingLayer ShiftingNetwork Trials
        accuracy encode first_spikes fit graded_times one_spike_each output_error several_spikes target_times
    """,
}
SUBMODULES = (
    "data.augment", "data.cifar", "data.events", "data.folders", "data.images", "data.loader", "data.speech",
    "models", "nir", "plots", "training.callbacks", "training.checkpoint", "training.stages",
    "training.tensorboard",
)  # fmt: skip
"""Documented beside these: all in them that has no underscore is public."""

POSITIONAL = {  # options that stand where the field, or the class they replace, has them
    "AdaptiveLeaky": {"beta", "threshold"},  # as in snn.Leaky
    "AdaptiveLeaky.forward": {"mem"},  # as in snn.Leaky
    "RefractoryLeaky": {"beta", "threshold"},  # as in snn.Leaky
    "RefractoryLeaky.forward": {"mem"},  # as in snn.Leaky
    "RateEncoder": {"alpha"},
    "EventSpikes": {"steps"},
    "SpeechSpikes": {"steps"},
    "boxcar": {"half_width"},
    "Gradients": {"spikes", "membrane", "current", "traced", "weights"},  # a named tuple
    "Attached.backward": {"labels"},  # as in backward(loss, labels)
    "Online.teach": {"labels"},
    "Feedback.matrix": {"like"},
    "Statistics.energy": {"model"},
    "BRPTrainer.testing": {"seed"},
    "EpochResult": {"validation"},  # records that the trainer makes
    "Evaluation": {"split"},
    "Progress": {"epoch", "batches", "step", "seconds", "loss", "correct", "count", "results"},
}
TESTS = Path(__file__).parents[1]
PACKAGE = Path(snntorch_brp.__file__).parent
WHITE_BOX = {"fused"}  # folders of tests that may look into the kernels' cache and buffers
TORCHS = {"_buffers"}  # private names of torch's own


def exported(module: ModuleType) -> dict[str, object]:
    names = getattr(module, "__all__", None)
    if names is None:
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        names = [name for name in own if not name.startswith("_")]
    return {name: getattr(module, name) for name in names}


def public() -> dict[str, object]:
    """Every public function and class, by name."""
    modules = [importlib.import_module(name) for name in (*PUBLIC, *(f"snntorch_brp.{name}" for name in SUBMODULES))]
    found = {name: value for module in modules for name, value in exported(module).items()}
    return {name: value for name, value in found.items() if inspect.isclass(value) or inspect.isfunction(value)}


def callables() -> Iterator[tuple[str, object]]:
    """Public functions, classes (by how they are made) and methods."""
    for name, value in public().items():
        yield name, value
        for method, raw in vars(value).items() if inspect.isclass(value) else ():
            function = getattr(raw, "__func__", raw)
            if not method.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{method}", function


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_these(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(PUBLIC[name].split())
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("module", ["snntorch_brp", "snntorch_brp.activity"])
def test_old_names_still_work_and_say_what_they_are_called_now(module: str) -> None:
    with pytest.warns(DeprecationWarning, match=r"Window is now snntorch_brp\.Activity") as said:
        assert importlib.import_module(module).Window is snntorch_brp.Activity
    assert said[0].filename == __file__
    with pytest.raises(AttributeError, match="has no attribute 'Windows'"):
        _ = importlib.import_module(module).Windows


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", snntorch_brp.__version__)


def test_options_are_named_by_the_caller() -> None:
    """A parameter with a default is an option, and stands behind a ``*``; the exceptions are written down above."""
    loose: dict[str, set[str]] = {}
    for name, value in callables():
        try:
            parameters = inspect.signature(value).parameters.values()  # type: ignore[arg-type]
        except ValueError:  # errors have no signature
            continue
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = {p.name for p in parameters if p.kind in kinds and p.default is not p.empty}
        if found - POSITIONAL.get(name, set()):
            loose[name] = found
    assert not loose


def test_every_public_name_says_what_it_is_for() -> None:
    """A function of several parameters tells of each of them; an error that is raised in it is told of, too."""
    missing = []
    for name, value in callables():
        doc, own = inspect.getdoc(value) or "", getattr(value, "__doc__", None)
        if not own or not doc.strip():
            missing.append(f"{name}: no docstring")
        if not inspect.isfunction(value):
            continue
        names = [p.name for p in inspect.signature(value).parameters.values() if p.name not in ("self", "cls")]
        if len(names) > 2 and "." not in name:
            missing += [f"{name}: no word on {one}" for one in names if not re.search(rf"\b{re.escape(one)}\b", doc)]
        body = ast.parse(textwrap.dedent(inspect.getsource(value)))
        if "." not in name and any(isinstance(node, ast.Raise) and node.exc for node in ast.walk(body)):
            missing += [] if "Raises:" in doc or "Raise " in doc else [f"{name}: raises, and does not say what"]
    assert not missing, "\n".join(missing)


@functools.cache
def private_names() -> frozenset[str]:
    """Every name with an underscore that the package gives to something."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return frozenset(name for name in found if name.startswith("_") and not name.startswith("__")) - TORCHS


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_the_tests_use_no_private_name(path: Path) -> None:
    here = path.relative_to(TESTS)
    if here.parts[0] in WHITE_BOX:
        pytest.skip("looks inside")
    private, tree = private_names(), ast.parse(path.read_text(encoding="utf-8"))
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    used = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("snntorch_brp"):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
        used += [f"line {node.lineno}: {name}" for name in names if name in private - own]
    assert not used
