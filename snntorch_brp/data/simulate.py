"""Simulated gestures in DvsGesture's layout: something to try the pipeline on, and no substitute for the data.

A person is two shoulders and four limbs: an upper arm and a forearm on each side, seen from the front. An
event camera reports changes of brightness, which happen where the edge of a limb sweeps over a pixel: points
on both edges of each limb fire at a rate that grows with their speed across the edge, bright (polarity 1) on
the side that the limb moves to and dark (0) on the side that it leaves. Sensor noise is added: events anywhere
at any time, and a few hot pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snntorch_brp.data.events import GESTURES, SIMULATED

LIGHTINGS = {"fluorescent": 0.9, "fluorescent_led": 1.0, "lab": 0.7, "led": 1.1, "natural": 0.8}
"""DvsGesture's illuminations, and how much contrast we give each of them."""

TRAIN_USERS, TEST_USERS = (1, 2, 3, 4), (24, 25)
SENSOR = 128
TICKS = 400  # simulated moments in a recording
WIDTH = 7.0  # of a limb, in pixels

Angles = NDArray[np.float64]
# Angles over time of right upper arm, right forearm, left upper arm, left forearm: radians from hanging down,
# positive outwards for the upper arms and forearms alike.
Pose = tuple[Angles, Angles, Angles, Angles]


def simulate_gesture(
    label: int, *, seconds: float = 1.5, contrast: float = 1.0, rng: np.random.Generator
) -> NDArray[np.int32]:
    """One simulated recording.

    Args:
        label: The gesture, 0..10, as in ``tonic.datasets.DVSGesture.classes``.
        seconds: Duration.
        contrast: Multiplies the number of events.
        rng: Source of the person, the way the gesture is done, and the noise.

    Returns:
        [N, 4] int32, the columns x, y, p and t in ms, in order of time.

    Raises:
        ValueError: If there is no such gesture.
    """
    if not 0 <= label < len(GESTURES):
        raise ValueError(f"label is {label}; expected a gesture 0..{len(GESTURES) - 1}")
    time = np.linspace(0, seconds, TICKS)
    phase = 2 * np.pi * (rng.uniform(1.2, 2.0) * time + rng.uniform())
    limbs = _limbs(_pose(label, phase, rng), rng)
    moving = [_edge_events(start, end, contrast, rng) for start, end in limbs]
    tick, x, y, p = (np.concatenate(parts) for parts in zip(*moving, _noise(rng), strict=True))
    t = (tick + rng.uniform(size=len(tick))) * (1000 * seconds / TICKS)
    events = np.stack([x, y, p, t], axis=1).astype(np.int32)
    on_sensor = ((events[:, :2] >= 0) & (events[:, :2] < SENSOR)).all(1)
    events = events[on_sensor]
    return events[np.argsort(events[:, 3], kind="stable")]


def simulate_dvsgesture(
    root: Path,
    *,
    seed: int = 0,
    users: tuple[Sequence[int], Sequence[int]] = (TRAIN_USERS, TEST_USERS),
    overwrite: bool = False,
    progress: Callable[[list[tuple[str, int, str]]], list[tuple[str, int, str]]] = lambda jobs: jobs,
) -> Path:
    """Write simulated gestures so that ``tonic.datasets.DVSGesture(root)`` loads them.

    Every user does each of the 11 gestures under each of five lightings; tonic wants two users at least in
    either half. The file SIMULATED.txt beside the recordings says what they are.

    Args:
        root: Folder to make ``DVSGesture`` in.
        seed: What all draws start from.
        users: Numbers of the users who are trained on, and of those who are tested on.
        overwrite: Whether simulated recordings that are there already may be replaced.
        progress: Wraps the list of jobs, e.g. tqdm.

    Returns:
        The folder ``DVSGesture``.

    Raises:
        FileExistsError: If there are recordings already that are not simulated, or are and must not be replaced.
    """
    folder = root / "DVSGesture"
    if folder.exists() and any(folder.iterdir()) and not (folder / SIMULATED).is_file():
        raise FileExistsError(f"{folder} is there already and not simulated: name another folder")
    if (folder / SIMULATED).is_file() and not overwrite:
        raise FileExistsError(f"{folder} holds simulated gestures already: name another folder, or add --overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SIMULATED).write_text("These gestures are simulated by snntorch_brp; they are not IBM's recordings.\n")
    halves = zip(("Train", "Test"), users, strict=True)
    jobs = [(half, user, lighting) for half, members in halves for user in members for lighting in LIGHTINGS]
    for half, user, lighting in progress(jobs):
        (folder / f"ibmGesture{half}.tar.gz").touch()
        person = folder / f"ibmGesture{half}" / f"user{user:02d}_{lighting}"
        person.mkdir(parents=True, exist_ok=True)
        for label in range(len(GESTURES)):
            rng = np.random.default_rng([seed, user, list(LIGHTINGS).index(lighting), label])
            np.save(person / f"{label}.npy", simulate_gesture(label, contrast=LIGHTINGS[lighting], rng=rng))
    return folder


def _pose(label: int, phase: Angles, rng: np.random.Generator) -> Pose:
    """The four angles over time of one gesture."""
    swing, turn = rng.uniform(0.4, 0.6) * np.sin(phase), 0.6 * phase
    rest = np.full_like(phase, 0.15) + 0.02 * np.sin(phase / 3)
    raised, level = np.full_like(phase, 2.4), np.full_like(phase, 0.9)
    roll = (0.3 * np.sin(phase), 0.5 * np.cos(phase))
    if label == 10:  # something else: slow, and different every time
        upper_right, right, upper_left, left = (_wander(phase, rng) for _ in range(4))
        return upper_right, right, upper_left, left
    poses: list[Pose] = [
        (rest + 0.2, -1.2 - swing, rest + 0.2, -1.2 - swing),  # forearms towards each other and apart
        (level, raised + swing, rest, rest),
        (rest, rest, level, raised + swing),
        (turn, turn, rest, rest),  # the stretched arm turns
        (-turn, -turn, rest, rest),
        (rest, rest, -turn, -turn),  # mirrored: outwards is the other way round
        (rest, rest, turn, turn),
        (rest + roll[0], roll[1] - 1.4, rest - roll[0], -roll[1] - 1.4),  # forearms around each other
        (rest + 0.3, 0.9 + 1.2 * swing, rest + 0.3, 0.9 - 1.2 * swing),  # the sticks in turn
        (rest, swing - 0.7, level + 0.2, level + 1.0 + 0.1 * np.sin(2 * phase)),  # strum with the right hand
    ]
    return poses[label]


def _wander(phase: Angles, rng: np.random.Generator) -> Angles:
    """A smooth random angle."""
    angle = np.full_like(phase, rng.uniform(0.2, 2.2))
    for frequency in (0.3, 0.5, 0.8):
        angle += rng.normal(0, 0.35) * np.sin(phase * frequency + rng.uniform(0, 6))
    return angle


def _limbs(pose: Pose, rng: np.random.Generator) -> list[tuple[Angles, Angles]]:
    """Ends of the four limbs over time, [ticks, 2] each, for a person of random build and place."""
    scale, middle = rng.uniform(0.85, 1.1), np.array([64, 50]) + rng.normal(0, 4, 2)
    limbs = []
    for side, upper, fore in ((-1, pose[0], pose[1]), (1, pose[2], pose[3])):
        shoulder = middle + np.array([side * 16 * scale, 0])
        elbow = shoulder + 22 * scale * np.stack([side * np.sin(upper), np.cos(upper)], axis=1)
        hand = elbow + 24 * scale * np.stack([side * np.sin(fore), np.cos(fore)], axis=1)
        limbs += [(np.broadcast_to(shoulder, elbow.shape), elbow), (elbow, hand)]
    return limbs


Cells = tuple[NDArray[np.int64], Angles, Angles, NDArray[np.int64]]  # tick, x, y, polarity of each event


def _edge_events(start: Angles, end: Angles, contrast: float, rng: np.random.Generator) -> Cells:
    """Events of the two edges of one limb."""
    along = np.linspace(0, 1, 16)[None, :, None]
    axis = start[:, None] * (1 - along) + end[:, None] * along  # [ticks, points, 2]
    direction = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1)[:, None]
    speed = (np.gradient(axis, axis=0) * normal).sum(-1)  # pixels a tick, across the limb
    count = rng.poisson(contrast * 3 * np.abs(speed)[..., None], (*speed.shape, 2))  # for both edges
    tick, point, edge = (np.repeat(index.ravel(), count.ravel()) for index in np.indices(count.shape))
    side = 2 * edge - 1
    place = axis[tick, point] + normal[tick, 0] * (side * WIDTH / 2)[:, None] + rng.normal(0, 0.8, (len(tick), 2))
    return tick, place[:, 0], place[:, 1], (side * speed[tick, point] > 0).astype(np.int64)


def _noise(rng: np.random.Generator, *, events: int = 1500, hot_pixels: int = 3) -> Cells:
    """Events without a cause: anywhere, and on a few hot pixels."""
    spots = rng.integers(0, SENSOR, (hot_pixels, 2))
    place = np.concatenate([rng.integers(0, SENSOR, (events, 2)), spots.repeat(100, axis=0)])
    ticks, polarity = rng.integers(0, TICKS, len(place)), rng.integers(0, 2, len(place))
    return ticks, place[:, 0].astype(float), place[:, 1].astype(float), polarity
