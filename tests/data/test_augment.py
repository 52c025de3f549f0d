"""Random crops and flips: what is drawn, and that it comes back in a run that goes on, on any number of processes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

from snntorch_brp.data.augment import AUGMENTATIONS, Augmentation
from snntorch_brp.data.loader import batches

IMAGES = torch.rand(40, 2, 5, 7, generator=torch.Generator().manual_seed(0))
NUMBERS = list(range(40))


def found(image: torch.Tensor, of: torch.Tensor, *, padding: int, flip: bool) -> list[tuple[int, int, bool]]:
    """Every shift, and mirroring, by which one image comes of another; found by trying all."""
    padded = F.pad(of, [padding] * 4)
    return [
        (y, x, mirrored)
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
        for mirrored in ((False, True) if flip else (False,))
        if torch.equal(image.flip(2) if mirrored else image, padded[:, y : y + 5, x : x + 7])
    ]


def test_every_image_is_a_window_of_its_own_padded_image_mirrored_or_not() -> None:
    moved = [
        found(image, of, padding=2, flip=True)
        for image, of in zip(Augmentation(padding=2, flip=True)(IMAGES, NUMBERS), IMAGES, strict=True)
    ]
    assert all(len(ways) == 1 for ways in moved)
    ways = [way for (way,) in moved]
    assert len(set(ways)) > 20  # each image has a draw of its own
    assert {y for y, _, _ in ways} == {x for _, x, _ in ways} == set(range(5))
    assert {mirrored for _, _, mirrored in ways} == {False, True}


def test_either_can_be_left_out() -> None:
    flipped = Augmentation(flip=True)(IMAGES, NUMBERS)
    assert {found(a, b, padding=0, flip=True)[0][2] for a, b in zip(flipped, IMAGES, strict=True)} == {False, True}
    cropped = Augmentation(padding=1)(IMAGES, NUMBERS)
    assert all(found(a, b, padding=1, flip=False) for a, b in zip(cropped, IMAGES, strict=True))
    assert torch.equal(Augmentation()(IMAGES, NUMBERS), IMAGES)


def test_a_draw_depends_on_seed_and_batch_alone() -> None:
    augment = Augmentation(padding=2, flip=True)
    torch.manual_seed(1)
    first = augment(IMAGES, NUMBERS)
    torch.manual_seed(2)
    assert torch.equal(augment(IMAGES, NUMBERS), first)
    assert not torch.equal(augment(IMAGES, [*NUMBERS[:-1], 41]), first)  # as in another epoch of a shuffled set
    assert not torch.equal(Augmentation(padding=2, flip=True, seed=1)(IMAGES, NUMBERS), first)
    assert not torch.equal(Augmentation(padding=2, flip=True, seed=-1)(IMAGES, NUMBERS), first)


def test_processes_share_the_draw_of_a_batch() -> None:
    data = TensorDataset(IMAGES, torch.arange(40))
    augment = Augmentation(padding=2, flip=True)

    def load(rank: int, world: int) -> list[torch.Tensor]:
        order = torch.Generator().manual_seed(3)
        loader = batches(data, 16, shuffle=True, rank=rank, world_size=world, generator=order, augment=augment)
        return [x for x, _ in loader]

    for whole, *parts in zip(load(0, 1), load(0, 2), load(1, 2), strict=True):
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("workers", [0, 1])
def test_epochs_differ_and_a_loader_that_goes_on_draws_the_same(workers: int) -> None:
    data = TensorDataset(IMAGES, torch.arange(40))

    def loader():
        order = torch.Generator().manual_seed(3)
        augment = Augmentation(padding=2, flip=True)
        return batches(data, 16, shuffle=True, generator=order, augment=augment, workers=workers)

    one = loader()
    first, second = ([(x, y) for x, y in one] for _ in range(2))
    images = [torch.cat([x for x, _ in epoch])[torch.cat([y for _, y in epoch]).argsort()] for epoch in (first, second)]
    assert not torch.equal(*images)
    stopped, again = loader(), loader()
    read = iter(stopped)
    next(read)
    state = stopped.state_dict()
    again.load_state_dict(state)
    for (x, y), (x_then, y_then) in zip(again, first[1:], strict=True):
        assert torch.equal(y, y_then)
        assert torch.equal(x, x_then)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images \[B, C, H, W\] can be augmented, got samples of shape \(30, 2\)"):
        Augmentation(padding=1)(torch.rand(4, 30, 2), [0, 1, 2, 3])
    with pytest.raises(ValueError, match="padding must not be negative"):
        Augmentation(padding=-1)


def test_the_usual_augmentations_have_names() -> None:
    assert AUGMENTATIONS["crop-flip"] == Augmentation(padding=4, flip=True)
    assert not AUGMENTATIONS["crop"].flip  # a mirrored 2 is none
