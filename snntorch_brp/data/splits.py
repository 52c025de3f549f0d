"""Which recordings are learned from and which are held back, and a sentence that says so.

An accuracy means little without it: a network tested on speakers it has heard does far better than on
strangers. Every split therefore comes with its description, to be printed beside the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from snntorch_brp.data.recordings import Recording

SplitBy = Literal["corpus", "random", "speaker"]


class Split(NamedTuple):
    """Positions of the training and test recordings, and what kind of split that is."""

    train: list[int]
    test: list[int]
    description: str


def split(
    recordings: Sequence[Recording],
    by: SplitBy,
    *,
    test_share: float = 0.3,
    speaker: str | None = None,
    seed: int = 0,
) -> Split:
    """Divide recordings into a training and a test set.

    Args:
        recordings: All of them, in an order that does not change from run to run.
        by: "corpus" takes the owner's own division; "random" draws ``test_share`` of the recordings, as the
            paper's authors do; "speaker" holds back whole speakers, so that the test set is strangers.
        test_share: Part held back by "random", and of the speakers by "speaker" (at least one of them).
        speaker: The one speaker to hold back.
        seed: What the draw starts from.

    Raises:
        ValueError: If the kind of split is unknown, or the recordings do not allow it.
    """
    places = range(len(recordings))
    draw = torch.Generator().manual_seed(seed)
    if by == "corpus":
        test = {i for i in places if recordings[i].split == "test"}
        description = "the corpus's own split"
    elif by == "random":
        order = torch.randperm(len(recordings), generator=draw).tolist()
        test = set(order[: round(test_share * len(order))])
        share = f"{100 - 100 * test_share:.0f}/{100 * test_share:.0f}"
        description = f"random {share} split of the recordings, seed {seed}"
    elif by == "speaker":
        speakers = sorted({r.speaker for r in recordings} - {""})
        if speaker is None:
            order = torch.randperm(len(speakers), generator=draw).tolist()
            held = [speakers[i] for i in order[: max(1, round(test_share * len(speakers)))]]
        else:
            held = [speaker]
        if speaker is not None and speaker not in speakers:
            raise ValueError(f"no recording of speaker {speaker!r}; there are {', '.join(speakers) or 'none'}")
        test = {i for i in places if recordings[i].speaker in held}
        names = ", ".join(sorted(held)) if len(held) < 6 else f"{len(held)} of {len(speakers)}, seed {seed}"
        description = f"held-out speaker{'s' * (len(held) > 1)} ({names})"
    else:
        raise ValueError(f'split is {by!r}; expected "corpus", "random" or "speaker"')
    train = [i for i in places if i not in test]
    if not train or not test:
        raise ValueError(
            f"the split by {by} leaves {len(train)} recordings to train on and {len(test)} to test on; "
            'choose another: "corpus", "random" or "speaker"'
        )
    return Split(train, sorted(test), description)
