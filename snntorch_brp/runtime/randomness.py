"""All that is random in a run, to be saved and to be put back: random numbers, and the order of the data."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_state(*sources: object) -> dict[str, Any]:
    """The states of the random numbers of Python, numpy, torch and CUDA, as plain values and tensors.

    Args:
        sources: Objects that may hold a generator of their own as ``.generator``, such as encoders.
    """
    kind, keys, position, has_normal, normal = np.random.get_state(legacy=True)  # noqa: NPY002 - what users may draw from
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_normal, normal),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "generators": [generator.get_state() for generator in _generators(sources)],
    }


def set_random_state(state: Mapping[str, Any], *sources: object) -> None:
    """Put back what :func:`random_state` gave, for the same sources."""
    random.setstate(state["python"])
    kind, keys, position, has_normal, normal = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_normal, normal))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    for device, cuda in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda, device)
    for generator, own in zip(_generators(sources), state["generators"], strict=False):
        generator.set_state(own)


def check_random_state(state: Mapping[str, Any], *sources: object) -> None:
    """Raise what :func:`set_random_state` would raise; random numbers go on as they were."""
    before = random_state(*sources)
    own = list(_generators(sources))
    if len(state["generators"]) != len(own):
        raise ValueError(f"it has {len(state['generators'])} generators of encoder and rule, and there are {len(own)}")
    try:
        set_random_state(state, *sources)
    finally:
        set_random_state(before, *sources)


def check_order(state: Mapping[str, Any]) -> None:
    """Raise an error if the state is not one that :func:`order_state` gives."""
    if state["generator"] is not None:
        torch.Generator().set_state(state["generator"])
    if state["position"] is not None and not isinstance(state["position"], dict):
        raise TypeError(f"the position in the data is a {type(state['position']).__name__}, and no dictionary")


@contextmanager
def put_back_on_error(*sources: object) -> Iterator[None]:
    """If the block raises, random numbers go on as if it had not run."""
    state = random_state(*sources)
    try:
        yield
    except BaseException:
        set_random_state(state, *sources)
        raise


@contextmanager
def seeded(seed: int, device: torch.device, *sources: object) -> Iterator[None]:
    """Inside the block torch's random numbers, and the sources', are those of ``seed``; then all go on as before.

    Args:
        seed: The seed.
        device: Where numbers are drawn besides the CPU.
        sources: As for :func:`random_state`.
    """
    generators = [(generator, generator.get_state()) for generator in _generators(sources)]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for generator, _ in generators:
            generator.manual_seed(seed)
        try:
            yield
        finally:
            for generator, state in generators:
                generator.set_state(state)


def order_state(loader: Iterable[Any], *, within: bool) -> dict[str, Any]:
    """Where a loader is in its order of the data.

    Args:
        loader: The loader.
        within: Within an epoch; else between two.

    Raises:
        TypeError: If the loader cannot say where it is within an epoch.
    """
    generator = _order_generator(loader)
    state: dict[str, Any] = {"generator": None if generator is None else generator.get_state(), "position": None}
    if within:
        if not hasattr(loader, "state_dict"):
            raise TypeError(
                f"{type(loader).__name__} cannot be resumed within an epoch: use torchdata's StatefulDataLoader (as "
                "snntorch_brp.data.loader.batches does), or save checkpoints only between epochs"
            )
        state["position"] = loader.state_dict()
    return state


def resume_order(loader: Iterable[Any], state: Mapping[str, Any] | None, *sources: object) -> Iterator[Any]:
    """An iterator over ``loader``; where a ``state`` is given, it goes on from there, and so do random numbers.

    Args:
        loader: The loader, made like the one that was saved.
        state: Holds what :func:`order_state` gave as "order" and what :func:`random_state` gave as "random".
        sources: As for :func:`random_state`.

    Raises:
        ValueError: If the state is not one of such a loader.
    """
    if state is None:
        return iter(loader)
    order, generator = state["order"], _order_generator(loader)
    if generator is not None and order["generator"] is None:
        raise ValueError("the saved order is of a loader without a generator: give the loader of the saved run")
    if order["position"] is None:
        set_random_state(state["random"], *sources)
        if generator is not None:
            generator.set_state(order["generator"])
        return iter(loader)
    if not hasattr(loader, "load_state_dict"):
        raise ValueError(f"{type(loader).__name__} cannot go on within an epoch: give the loader of the saved run")
    loader.load_state_dict(order["position"])
    iterator = iter(loader)  # this draws random numbers, so they are put back after it
    set_random_state(state["random"], *sources)
    if generator is not None:
        generator.set_state(order["generator"])
    return iterator


def _order_generator(loader: object) -> torch.Generator | None:
    sampler = getattr(loader, "sampler", None)
    places = (loader, sampler, getattr(sampler, "sampler", None))
    return next(_generators(places), None)


def _generators(sources: Iterable[object]) -> Iterator[torch.Generator]:
    for source in sources:
        generator = getattr(source, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator


def worker_state() -> dict[str, Tensor | Any]:
    """The random numbers of a loader's worker process; nothing in the main process."""
    return {} if torch.utils.data.get_worker_info() is None else random_state()


def set_worker_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`worker_state` gave."""
    if state and torch.utils.data.get_worker_info() is not None:
        set_random_state(state)
