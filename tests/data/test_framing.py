"""Frames against tonic's own, and the two framings against each other."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snntorch_brp.data.event_files import EVENT, read_aedat
from snntorch_brp.data.framing import frame_events, validate_events
from snntorch_brp.data.optional import EVENTS, require
from snntorch_brp.data.recordings import BadRecording

transforms = pytest.importorskip("tonic.transforms", reason="tonic is not installed")
pytest.importorskip("numba", reason="numba is not installed")

TONIC = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])  # DVSGesture's


def events_of(rows, dtype=EVENT):
    x, y, p, t = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    events = np.zeros(len(x), dtype)
    events["x"], events["y"], events["p"], events["t"] = x, y, p, np.sort(t, kind="stable")
    return events


def by_tonic(events, steps, sensor, size, merge):
    """The same frames, the way a user of tonic would make them."""
    chain = [transforms.Downsample(sensor_size=(*sensor, 2), target_size=size)]
    if merge:
        chain.append(transforms.MergePolarities())
    chain.append(transforms.ToFrame(sensor_size=(*size, 1 if merge else 2), n_time_bins=steps))
    return transforms.Compose(chain)(events.copy())


@st.composite
def recordings(draw):
    sensor = draw(st.sampled_from([(16, 16), (12, 20), (34, 34)]))
    factor = draw(st.sampled_from([1, 2]))
    event = st.tuples(
        st.integers(0, sensor[0] - 1),
        st.integers(0, sensor[1] - 1),
        st.integers(0, 1),
        st.one_of(st.integers(0, 20), st.integers(0, 10**7), st.integers(2**31, 2**40)),
    )
    events = events_of(draw(st.lists(event, min_size=1, max_size=80)), draw(st.sampled_from([EVENT, TONIC])))
    return events, sensor, (sensor[0] // factor, sensor[1] // factor)


@settings(deadline=None, max_examples=150)
@given(recordings(), st.integers(1, 40), st.booleans())
@example((events_of([(3, 4, 1, 5)]), (16, 16), (16, 16)), 3, False)  # one event: no frame holds it
@example((events_of([(3, 4, 1, 5)] * 9), (16, 16), (8, 8)), 1, True)  # all at once
@example((events_of([(0, 0, 0, 0), (15, 15, 1, 7)]), (16, 16), (16, 16)), 8, False)  # fewer ticks than frames
def test_frames_are_tonics(recording, steps, merge):
    events, sensor, size = recording
    expected = by_tonic(events, steps, sensor, size, merge)
    options = {"sensor": sensor, "size": size, "merge_polarities": merge}
    frames = frame_events(events, steps, **options)
    assert frames.dtype == expected.dtype
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_array_equal(frame_events(events, steps, binary=True, **options), expected > 0)


def test_counts_stay_at_the_largest_number():
    events = events_of([(1, 1, 1, 0)] * 40_000 + [(0, 0, 0, 1)])
    assert frame_events(events, 1, sensor=(2, 2))[0, 1, 1, 1] == 32_767


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("x", 16, r"x runs from 0 to 16, outside of the sensor's 0\.\.15"),
        ("y", -1, "y runs from -1"),
        ("p", 2, "polarities are"),
        ("t", -5, "time runs backwards at event 3: from 2 to -5"),
    ],
)
def test_bad_events_are_named(field, value, message):
    events = events_of([(i, i, i % 2, i) for i in range(6)])
    validate_events(events, (16, 16))
    events[field][3] = value
    with pytest.raises(BadRecording, match=message):
        frame_events(events, 2, sensor=(16, 16))


def test_no_events_and_wrong_settings_are_errors():
    with pytest.raises(BadRecording, match="no events"):
        frame_events(events_of([]), 2, sensor=(16, 16))
    with pytest.raises(ValueError, match="at least 1 frame"):
        frame_events(events_of([(0, 0, 0, 0)]), 0, sensor=(16, 16))
    with pytest.raises(ValueError, match="at most the sensor's"):
        frame_events(events_of([(0, 0, 0, 0)]), 1, sensor=(16, 16), size=(32, 32))


def test_a_missing_extra_is_told_with_the_command_that_installs_it(monkeypatch, tmp_path):
    with pytest.raises(ImportError, match=r"pip install 'snntorch-brp\[events\]'"):
        require("tonic.no_such_module", install=EVENTS)
    (tmp_path / "a.aedat4").touch()
    monkeypatch.setitem(sys.modules, "tonic.io", None)  # as where tonic is not installed
    with pytest.raises(ImportError, match=r"pip install 'snntorch-brp\[events\]'"):
        read_aedat(tmp_path / "a.aedat4")


def test_nothing_but_torch_is_needed_to_import_the_package():
    code = "import sys, snntorch_brp.cli; print({'tonic', 'librosa', 'soundfile'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_benchmark_runs(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["framing.py", "--contrast", "0.1", "--repeats", "1"])
    runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "framing.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "tonic" in out
    assert "from the cache" in out
