"""Whether what is gone on from is this run: of the same settings, and of the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch.utils.data import Dataset

from snntorch_brp.runs.config import RunConfig
from snntorch_brp.tasks.base import TrainTest

LOOKED_AT = 32  # samples of a set, spread evenly over it


def fingerprint(dataset: Dataset) -> str:
    """The number of samples, and a digest of some of them and of their labels.

    It tells another data set, other files in the folder and another split; not one changed sample among thousands.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> fingerprint(TensorDataset(torch.zeros(3, 2), torch.arange(3)))
        '3 samples, 3f647235'
    """
    size, digest = len(dataset), hashlib.sha256()  # type: ignore[arg-type]
    for place in sorted({i * (size - 1) // max(LOOKED_AT - 1, 1) for i in range(LOOKED_AT)}) if size else ():
        x, label = dataset[place]
        for part in (x, label):
            tensor = torch.as_tensor(part).detach().cpu()
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.to_dense().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"{size:,} samples, {digest.hexdigest()[:8]}"


def samples_of(sets: TrainTest) -> dict[str, str]:
    """The fingerprint of each set there is, by its name."""
    named = {"train": sets.train, "validation": sets.validation, "test": sets.test}
    return {name: fingerprint(dataset) for name, dataset in named.items() if dataset is not None}


def about_run(config: RunConfig, samples: Mapping[str, str]) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {**asdict(config), "samples": dict(samples)}


def check_about(found: Mapping[str, Any], config: RunConfig, samples: Mapping[str, str]) -> None:
    """Raise a ValueError if a checkpoint is of other settings or other data; one that says nothing of data passes."""
    values = dict(found)
    then = values.pop("samples", None)
    config.check_same(RunConfig.of(values))
    if then is not None:
        check_samples(then, samples)


def check_samples(then: Any, samples: Mapping[str, str]) -> None:
    """Raise a ValueError if the data are not those of then."""
    if then != dict(samples):
        old = then if isinstance(then, Mapping) else {}
        changed = [name for name in {**old, **samples} if old.get(name) != samples.get(name)]
        told = "; ".join(f"{name}: {old.get(name, 'none')} then, {samples.get(name, 'none')} now" for name in changed)
        raise ValueError(f"it was trained on other data ({told}): name the folder of then with --data, or start anew")
