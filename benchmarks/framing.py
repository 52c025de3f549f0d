"""How long framing a recording takes: tonic's ToFrame, ours, and a cached array. Run: python framing.py

A simulated gesture as long as DvsGesture's (128 x 128, about 400,000 events, 6 s), whole and brought
down to 32 x 32. The ways take turns, so that a busy machine slows all alike; the figures are medians of processor time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from tonic.transforms import Compose, Downsample, ToFrame

from snntorch_brp.data.cache import Cache
from snntorch_brp.data.event_files import read_npy
from snntorch_brp.data.events import Frames
from snntorch_brp.data.framing import frame_events
from snntorch_brp.data.simulate import simulate_gesture

DVSGESTURE = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])  # as tonic has it
SENSOR = (128, 128)


def recording(contrast: float) -> np.ndarray:
    """A simulated gesture of 6 s, as tonic would load it; ``contrast`` makes it as long as a real one."""
    rows = simulate_gesture(3, seconds=6.0, contrast=contrast, rng=np.random.default_rng(0)).astype(np.int64)
    events = np.zeros(len(rows), DVSGESTURE)
    events["x"], events["y"], events["p"], events["t"] = rows[:, 0], rows[:, 1], rows[:, 2], 1000 * rows[:, 3]
    return events


def interleaved(ways: dict, repeats: int) -> dict:
    """Median milliseconds of each way, after one run of each to warm up."""
    times = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn:
                times[name].append(1e3 * (time.process_time() - start))
    return {name: median(measured) for name, measured in times.items()}


def compared(events: np.ndarray, steps: int, size: tuple[int, int], repeats: int) -> dict:
    """Median milliseconds of tonic and of ours, for the same frames."""
    chain = [ToFrame((*size, 2), n_time_bins=steps)]
    if size != SENSOR:
        chain.insert(0, Downsample(sensor_size=(*SENSOR, 2), target_size=size))
    tonic, ours = Compose(chain), partial(frame_events, steps=steps, sensor=SENSOR, size=size)
    assert (tonic(events) == ours(events)).all(), "the frames differ"
    return interleaved({"tonic": partial(tonic, events), "ours": partial(ours, events)}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contrast", type=float, default=4.5)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    events = recording(args.contrast)
    print(f"one simulated gesture of {len(events):,} events: milliseconds to frames")
    print(f"{'T':>4} {'size':>8} {'tonic':>8} {'ours':>8} {'ratio':>6}")
    for size in (SENSOR, (32, 32)):
        for steps in (30, 60, 100):
            ms = compared(events, steps, size, args.repeats)
            ratio = ms["tonic"] / ms["ours"]
            print(f"{steps:>4} {size[0]:>4}x{size[1]:<3} {ms['tonic']:8.2f} {ms['ours']:8.2f} {ratio:5.1f}x")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.npy"
        np.save(path, np.stack([events[name].astype(np.int64) for name in "xypt"], axis=1))
        frames, cache = Frames(60, SENSOR, (32, 32)), Cache(Path(folder) / "cache")
        ways = {
            "read and framed": lambda: frames(read_npy(path)),
            "second epoch, from the cache": lambda: cache.get(path, {"steps": 60}, lambda: frames(read_npy(path))),
        }
        ms = interleaved(ways, args.repeats)
        print("\nthe same recording from disk, 60 frames of 32x32, in milliseconds")
        for name, value in ms.items():
            print(f"{name:<30} {value:8.2f} {ms['read and framed'] / value:6.0f}x")


if __name__ == "__main__":
    main()
