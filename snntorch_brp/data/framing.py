"""Frames from events: how often each pixel fired in each of T equal slices of a recording.

With t_0 and t_1 the first and last timestamp and w = (t_1 - t_0) // T, frame i counts the events with
t_0 + i w <= t < t_0 + (i + 1) w, as ``tonic.transforms.ToFrame(n_time_bins=T)`` does; like there, what is left
over at the end (the last event always) belongs to no frame, and a recording shorter than T ticks has none.

:func:`frame_events` frames one recording on the CPU, in one pass of compiled code that also finds what is wrong with
it; :mod:`.resident` frames batches on whatever device they are on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntorch_brp.data.optional import EVENTS, require
from snntorch_brp.data.recordings import BadRecording

Sensor = tuple[int, int]  # width, height, in pixels
Events = NDArray[np.void]  # structured, with the fields x, y, p, t


def validate_events(events: Events, sensor: Sensor) -> None:
    """Raise :class:`BadRecording` unless there are events, on the sensor, of polarity 0 or 1, in order of time."""
    if len(events) == 0:
        raise BadRecording("holds no events")
    for axis, size in zip("xy", sensor, strict=True):
        low, high = int(events[axis].min()), int(events[axis].max())
        if low < 0 or high >= size:
            raise BadRecording(f"{axis} runs from {low} to {high}, outside of the sensor's 0..{size - 1}")
    if not np.isin(events["p"], (0, 1)).all():
        raise BadRecording(f"polarities are {np.unique(events['p']).tolist()[:5]}; expected 0 and 1")
    backwards = np.flatnonzero(np.diff(events["t"].astype(np.int64)) < 0)
    if len(backwards):
        k = int(backwards[0])
        raise BadRecording(f"time runs backwards at event {k + 1}: from {events['t'][k]} to {events['t'][k + 1]}")


def frame_events(
    events: Events,
    steps: int,
    *,
    sensor: Sensor,
    size: Sensor | None = None,
    merge_polarities: bool = False,
    binary: bool = False,
) -> NDArray[Any]:
    """Frames of one recording, on the CPU.

    Args:
        events: Structured array with the fields x, y, p (0 or 1) and t, ordered by t, of any integer type.
        steps: T, the number of frames.
        sensor: Width and height of the sensor.
        size: Width and height of the frames, at most those of the sensor; pixel x falls into column
            floor(x * width / sensor width). The sensor's own size by default.
        merge_polarities: One channel of all events instead of one for each polarity.
        binary: 1 where there was an event at all (uint8), the natural spikes of an event camera, instead of
            counts (int16, which stay at 32,767 rather than overflow).

    Returns:
        [T, C, height, width], C = 1 or 2.

    Raises:
        BadRecording: If there are no events, one is off the sensor or of another polarity, or time runs backwards.
    """
    size = _check(steps, sensor, size)
    if len(events) == 0:
        validate_events(events, sensor)
    t = events["t"]
    first, last = int(t[0]), int(t[-1])
    width, height = size
    columns, rows = (np.arange(n) * m // n for n, m in zip(sensor, size, strict=True))
    channels = np.array([0, 0] if merge_polarities else [0, 1])
    frames = np.zeros((steps, channels[1] + 1, height, width), np.uint8 if binary else np.int16)
    good = _compiled()(
        events["x"], events["y"], events["p"].view(np.uint8) if events["p"].dtype == bool else events["p"], t,
        first, (last - first) // steps, columns, rows * width, channels * height * width,
        1 if binary else 32767, frames.ravel(), frames[0].size,
    )  # fmt: skip
    if not good:
        validate_events(events, sensor)
    return frames


def _count(
    x: Any, y: Any, p: Any, t: Any, first: int, window: int, columns: Any, rows: Any, channels: Any,
    cap: int, frames: Any, frame_cells: int,
) -> bool:  # fmt: skip
    """Count the events into the flat ``frames`` up to ``cap``; False if one is bad. Compiled by numba."""
    before, frame, end = t[0], 0, first + window
    for k in range(len(t)):
        now = t[k]
        inside = 0 <= x[k] < len(columns) and 0 <= y[k] < len(rows) and 0 <= p[k] < 2
        if not inside or now < before:
            return False
        before = now
        while now >= end and frame < len(frames):
            frame += frame_cells
            end += window
        if frame < len(frames):
            # unsigned: numba need not look whether the index counts from the end
            cell = np.uint64(frame + channels[p[k]] + rows[y[k]] + columns[x[k]])
            if frames[cell] < cap:
                frames[cell] += 1
    return True


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., bool]:
    """:func:`_count`, compiled at the first call and kept on disk by numba."""
    compiled: Callable[..., bool] = require("numba", install=EVENTS).njit(cache=True, nogil=True)(_count)
    return compiled


def _check(steps: int, sensor: Sensor, size: Sensor | None) -> Sensor:
    """The frames' size, checked."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1 frame")
    size = sensor if size is None else size
    if any(not 0 < m <= n for m, n in zip(size, sensor, strict=True)):
        raise ValueError(f"size is {size}; expected at least 1 x 1 and at most the sensor's {sensor}")
    return size
