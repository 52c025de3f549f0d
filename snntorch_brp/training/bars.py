"""Progress bars: what is seen of a training while it runs."""

from __future__ import annotations

from collections.abc import Sized

from tqdm import tqdm

from snntorch_brp.training.results import EpochResult, Progress

_BAR = "{desc}: {n_fmt}/{total_fmt} |{bar:10}| {elapsed}<{remaining}{postfix}"  # leaves 40 of 80 columns to results


def bar_of(title: str, total: int | None, hidden: bool | None, *, done: int = 0) -> tqdm:
    """A progress bar that goes away when it is full; ``hidden`` None hides it unless there is a terminal."""
    return tqdm(desc=title, total=total, initial=done, disable=hidden, leave=False, bar_format=_format(total))


def epochs_bar(progress: Progress, epochs: int, hidden: bool | None) -> tqdm:
    """The bar of all epochs, which stays."""
    return tqdm(desc="epochs", total=epochs, initial=progress.epoch - 1, disable=hidden, bar_format=_BAR)


def show(bar: tqdm, result: EpochResult) -> None:
    """Show an epoch's accuracies on the bar of all epochs."""
    found = {} if result.validation is None else {"validation": result.validation.accuracy}
    shares = {**found, "training": result.accuracy}
    bar.set_postfix_str(", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    bar.update()


def _format(total: int | None) -> str | None:
    return None if total is None else _BAR  # without a total there is nothing to fill


def length(loader: object) -> int | None:
    """Number of batches, where the loader knows it."""
    return len(loader) if isinstance(loader, Sized) else None
