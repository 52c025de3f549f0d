"""Raw events kept on the device and framed there, batch by batch.

A recording of DvsGesture shrinks to frames before it is stored, which suits most; kept whole, its events can be cut
differently in every run or every epoch. They are moved once, 8 bytes an event (its time and the cell of a frame that
it falls into; 12 where a recording is longer than 2^31 ticks), and a batch is then no more than the numbers of its
recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from snntorch_brp.data.events import Frames
from snntorch_brp.data.framing import Events


class ResidentEvents:
    """Encoder: numbers of recordings to their spikes, framed where the events are.

    Args:
        recordings: The events of each, valid ones (:func:`~.framing.validate_events`).
        frames: How they are framed.
        device: Where they are kept.

    Example:
        >>> events = np.zeros(9, [("x", "i2"), ("y", "i2"), ("p", "i1"), ("t", "i8")])
        >>> encode = ResidentEvents([events, events], Frames(steps=4, sensor=(8, 8), size=(8, 8)))
        >>> encode(torch.tensor([1, 0, 1])).shape
        torch.Size([4, 3, 2, 8, 8])
    """

    def __init__(self, recordings: Sequence[Events], frames: Frames, *, device: torch.device | str = "cpu") -> None:
        width, height = frames.size
        self.steps, self.shape = frames.steps, (1 if frames.merge_polarities else 2, height, width)
        cells, times = [], []
        for events in recordings:
            x, y, p, t = (events[name].astype(np.int64) for name in "xypt")
            row, column = y * height // frames.sensor[1], x * width // frames.sensor[0]
            channel = 0 if frames.merge_polarities else p
            cells.append(((channel * height + row) * width + column).astype(np.int32))
            times.append(t - t[0])
        self.cells = torch.from_numpy(np.concatenate(cells)).to(device)
        longest = max((int(time[-1]) for time in times), default=0)
        clock = np.int32 if longest < 2**31 else np.int64
        self.times = torch.from_numpy(np.concatenate(times).astype(clock)).to(device)
        starts = [0, *accumulate(len(events) for events in recordings)]
        self.starts = torch.tensor(starts, device=device)
        self.longest = max(map(len, recordings))

    def __call__(self, numbers: Tensor) -> Tensor:
        """Numbers [B] to spikes [T, B, C, height, width] of 0.0 and 1.0."""
        start, end = self.starts[numbers], self.starts[numbers + 1]
        place = start[:, None] + torch.arange(self.longest, device=start.device)
        real = place < end[:, None]
        place = torch.where(real, place, start[:, None])
        time = self.times[place].long()
        window = self.times[end - 1].long()[:, None] // self.steps
        frame = time // window.clamp(min=1)
        real &= (frame < self.steps) & (window > 0)
        cells = self.shape[0] * self.shape[1] * self.shape[2]
        sample = torch.arange(len(numbers), device=start.device)[:, None]
        cell = (frame * len(numbers) + sample) * cells + self.cells[place]
        # one past the end collects what belongs to no frame: no masked selection, so no wait for the device
        total = self.steps * len(numbers) * cells
        spikes = torch.zeros(total + 1, device=start.device)
        spikes[torch.where(real, cell, total).flatten()] = 1
        return spikes[:-1].view(self.steps, len(numbers), *self.shape)
