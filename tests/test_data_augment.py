"""Changed images against their geometry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snntorch_brp.data.augment import RandomAffine


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(count: int = 200) -> Tensor:
    """A smooth spot off the centre, 33x33."""
    at = torch.arange(33.0)
    spot = torch.exp(-((at[:, None] - 10) ** 2 + (at[None, :] - 19) ** 2) / 18)
    return spot.expand(count, 2, 33, 33)


def centres(images: Tensor) -> Tensor:
    """Centre of mass of the first channel, (row, column) from the middle of the image."""
    at = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    mass = images[:, 0]
    return torch.stack([(mass.sum(2) @ at), (mass.sum(1) @ at)], 1) / mass.sum((1, 2))[:, None]


def test_without_a_range_nothing_changes() -> None:
    images = torch.rand(7, 3, 9, 12, generator=seeded())
    torch.testing.assert_close(RandomAffine()(images), images)


def test_images_are_moved_by_at_most_the_shift() -> None:
    images = blob()
    moved = centres(RandomAffine(shift=3)(images, generator=seeded())) - centres(images)
    # even draws from -3 to 3: 200 of them come near both ends, and vary with a standard deviation of 3 / sqrt(3)
    assert moved.abs().max() < 3.01
    assert (moved.max(0).values > 2.7).all()
    assert (moved.min(0).values < -2.7).all()
    torch.testing.assert_close(moved.std(0), torch.full((2,), 3**0.5), rtol=0.1, atol=0)


def test_turned_images_keep_their_distance_from_the_centre() -> None:
    images = blob()
    before, after = centres(images), centres(RandomAffine(degrees=30)(images, generator=seeded()))
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1), rtol=0.01, atol=0)
    turns = torch.rad2deg(torch.atan2(*after.T) - torch.atan2(*before.T))
    assert turns.abs().max() < 30.3
    assert turns.max() > 27
    assert turns.min() < -27


def test_an_oblong_image_turns_as_it_would_inside_a_square_one() -> None:
    images = torch.zeros(50, 1, 33, 33)
    images[..., 14:19, 14:19] = torch.rand(50, 1, 5, 5, generator=seeded())
    square = RandomAffine(degrees=90)(images, generator=seeded(1))
    oblong = RandomAffine(degrees=90)(images[..., 4:-4, :], generator=seeded(1))
    torch.testing.assert_close(oblong, square[..., 4:-4, :], rtol=0, atol=1e-4)  # places differ by rounding


def test_scaled_images_grow_along_each_axis_on_its_own() -> None:
    images = blob()
    ratio = centres(RandomAffine(scale=0.2)(images, generator=seeded())) / centres(images)
    assert ratio.min() > 0.79
    assert ratio.max() < 1.21
    assert (ratio[:, 0] - ratio[:, 1]).std() > 0.1


def test_slanted_images_move_sideways_by_their_height() -> None:
    images = blob()
    moved = centres(RandomAffine(shear=0.5)(images, generator=seeded())) - centres(images)
    assert moved[:, 0].abs().max() < 0.02
    # the spot lies 6 pixels above the middle
    assert 2.7 < moved[:, 1].abs().max() < 3.05


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.rand(1, 1, 8, 8, generator=seeded()).expand(400, 1, 8, 8)
    changed = RandomAffine(mirror=True)(images, generator=seeded(1))
    same = (changed - images).abs().amax((1, 2, 3)) < 1e-5
    mirrored = (changed - images.flip(-1)).abs().amax((1, 2, 3)) < 1e-5
    assert (same ^ mirrored).all()
    assert 160 < mirrored.sum() < 240  # four standard deviations around 200


def test_a_seed_means_the_same_images() -> None:
    change, images = RandomAffine(10, 0.1, 0.1, 2, mirror=True), blob(5)
    assert torch.equal(change(images, generator=seeded(3)), change(images, generator=seeded(3)))
    assert not torch.equal(change(images, generator=seeded(3)), change(images, generator=seeded(4)))


@pytest.mark.parametrize("wrong", [{"shift": -1}, {"scale": 1.0}, {"degrees": -5}, {"shear": -0.1}])
def test_ranges_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="ranges must not be negative"):
        RandomAffine(**wrong)  # type: ignore[arg-type]


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[B, C, H, W\], got \(3, 4\)"):
        RandomAffine()(torch.zeros(3, 4))
