"""Event recordings: the real tonic classes and readers on small files of our own."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntorch_brp.data.cache import Cache
from snntorch_brp.data.device_events import ResidentEvents
from snntorch_brp.data.event_files import EVENT, read_aedat, read_bin, read_dvsgesture, read_npy
from snntorch_brp.data.events import (
    EventSpikes,
    Frames,
    draw_frames,
    find_dvsgesture,
    find_nmnist,
    is_simulated,
    load_frames,
)
from snntorch_brp.data.folders import event_folder, find_event_folder, sensor_of
from snntorch_brp.data.framing import frame_events
from snntorch_brp.data.recordings import BadRecording
from snntorch_brp.data.simulate import simulate_dvsgesture, simulate_gesture

tonic = pytest.importorskip("tonic", reason="tonic is not installed")

NMNIST = Path(__file__).parents[3] / "shared" / "data" / "nmnist_small.zip"
FRAMES = Frames(steps=5, sensor=(16, 16), size=(8, 8))


def some_events(seed=0, n=200, size=16):
    rng = np.random.default_rng(seed)
    events = np.zeros(n, EVENT)
    for name, high in (("x", size), ("y", size), ("p", 2)):
        events[name] = rng.integers(0, high, n)
    events["t"] = np.sort(rng.integers(0, 100_000, n))
    return events


def write_bin(path, events):
    """N-MNIST's 40 bits: x, y, polarity and 23 bits of time, most significant first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = events["t"].astype(np.uint32)
    columns = [events["x"], events["y"], (events["p"].astype(np.uint32) << 7) | (t >> 16), (t >> 8) & 255, t & 255]
    path.write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())
    return path


def write_npy(path, events):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, events)
    return path


def columns(events):
    return np.stack([events[name] for name in "xypt"], 1).astype(np.int64)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64, np.float64])
def test_npy_recordings_are_read(tmp_path, dtype):
    events = some_events()
    plain = read_npy(write_npy(tmp_path / "a.npy", columns(events).astype(dtype)))
    fields = read_npy(write_npy(tmp_path / "b.npy", events))
    np.testing.assert_array_equal(columns(plain), columns(events))
    np.testing.assert_array_equal(columns(fields), columns(events))


def test_a_polarity_of_minus_one_is_zero(tmp_path):
    rows = np.array([[1, 2, -1, 0], [3, 4, 1, 5]])
    assert read_npy(write_npy(tmp_path / "a.npy", rows))["p"].tolist() == [0, 1]


def test_bin_recordings_are_read(tmp_path):
    events = some_events()
    np.testing.assert_array_equal(columns(read_bin(write_bin(tmp_path / "a.bin", events))), columns(events))


def test_aedat_recordings_are_read(tmp_path):
    events = some_events(n=10)
    address = (events["x"].astype(">u4") << 8) | (events["y"].astype(">u4") << 1) | events["p"].astype(">u4")
    body = np.stack([address, events["t"].astype(">u4")], 1).astype(">u4").tobytes()
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT2.0\r\n# made by a test\r\n" + body)
    np.testing.assert_array_equal(columns(read_aedat(tmp_path / "a.aedat")), columns(events))
    (tmp_path / "a.aedat").write_bytes(b"no such thing")
    with pytest.raises(BadRecording, match=r"expected #!AER-DAT"):
        read_aedat(tmp_path / "a.aedat")
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + bytes(19))
    with pytest.raises(BadRecording, match="truncated within the head"):
        read_aedat(tmp_path / "a.aedat")


PACKET_OF = struct.Struct("<hhiiiiii")


def aedat3(*packets):
    """An AEDAT 3 file of packets (type, size of an event, clock overflows, content)."""
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    heads = [
        PACKET_OF.pack(kind, 1, size, 4, over, len(c) // size, len(c) // size, 0) for kind, size, over, c in packets
    ]
    return header + b"".join(head + packet[3] for head, packet in zip(heads, packets, strict=True))


def test_other_packets_of_aedat_3_are_passed_over(tmp_path):
    rows = np.array([[5, 6, 1, 100], [7, 8, 0, 200]])
    x, y, p, t = rows.T
    content = np.stack([x << 17 | y << 2 | p << 1 | 1, t], 1).astype("<u4").tobytes()
    invalid = np.array([9 << 17, 150], "<u4").tobytes()
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat3((1, 8, 0, content + invalid), (3, 36, 0, b"\x01" * 72), (1, 8, 1, content)))
    expected = np.concatenate([rows, rows + np.array([0, 0, 0, 2**31])])
    np.testing.assert_array_equal(columns(read_aedat(path)), expected)
    whole = path.read_bytes()
    start = whole.index(b"#!END-HEADER") + 14
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        if cut - start in (0, 28 + 24, 28 + 24 + 28 + 72):  # between packets
            assert len(read_aedat(path)) <= 2
        else:
            with pytest.raises(BadRecording, match=r"a\.aedat: .*truncated"):
                read_aedat(path)
    path.write_bytes(b"#!AER-DAT2.0\r\n" + bytes(20))
    with pytest.raises(BadRecording, match=r"a\.aedat: 20 bytes of events of 8 bytes each: truncated"):
        read_aedat(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (2, 256, "p runs from 0 to 256"),
        (2, 257, "p runs from 0 to 257"),
        (2, -255, "p runs from -255"),
        (2, 0.5, "p is 0.5 at event 19"),
        (2, -1, "p holds -1, 0 and 1"),
        (2, np.nan, "p is NaN or infinite at event 19"),
        (0, np.nan, "x is NaN"),
        (0, 65539, "x runs from 0 to 65539"),
        (0, 32767, "x runs from 0 to 32767"),
        (1, -1, "y runs from -1"),
        (3, np.inf, "t is NaN or infinite"),
        (3, 0.25, r"t is 0\.25 at event 19: no whole number; times must be whole ticks: if they are seconds, store np"),
        (3, 1e300, "t runs from 0.0 to 1e"),
    ],
)
def test_values_that_no_camera_sends_are_errors(tmp_path, column, value, message):
    rows = np.stack([np.arange(20) % 8, np.arange(20) % 5, np.arange(20) % 2, np.arange(20) * 100], 1).astype(float)
    rows[19, column] = value
    path = write_npy(tmp_path / "a.npy", rows if isinstance(value, float) else rows.astype(np.int64))
    for read in (read_npy, read_dvsgesture):
        with pytest.raises(BadRecording, match=message) as error:
            read(path)
        assert str(path) in str(error.value)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header_of(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117) + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        npy(np.zeros((20, 4), int)).replace(b"(20", b"((0", 1),
        header_of(b"{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000, 4), }"),
        header_of(b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1, 4), }") + bytes(32),
        npy(np.zeros((20, 4), "U3")),
        npy(np.zeros((20, 4), complex)),
        npy(np.zeros((20, 4), "M8[s]")),
        npy(np.zeros(20, [("x", "i2", (2,)), ("y", "i2"), ("p", "i1"), ("t", "i8")])),
        npy(np.float64(3)),
        npy(np.zeros((20, 4))) + b"trailing",
        b"PK\3\4 as of an npz",
    ],
)
def test_damaged_npy_files_are_told_in_a_sentence_and_skipped(tmp_path, content):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "0.npy"
    path.write_bytes(content)
    with pytest.raises(BadRecording, match=re.escape(str(path))) as error:
        read_npy(path)
    assert "\n" not in str(error.value)
    write_npy(tmp_path / "a" / "1.npy", some_events())
    dataset, _ = event_folder(tmp_path, 4, on_bad="skip")
    assert len(dataset) == 1


def test_bin_is_read_as_by_tonic_overflows_included(tmp_path):
    rng = np.random.default_rng(0)
    content = rng.integers(0, 30, (5000, 5)).astype(np.uint8)
    content[rng.random(5000) < 0.2, 1] = 240  # the mark of an overflow
    (tmp_path / "a.bin").write_bytes(content.tobytes())
    expected = tonic.io.read_mnist_file(str(tmp_path / "a.bin"), dtype=EVENT)
    np.testing.assert_array_equal(columns(read_bin(tmp_path / "a.bin")), columns(expected))


@pytest.mark.parametrize(
    "error",
    [MemoryError(), SyntaxError("x\ny"), OverflowError("x"), AttributeError("x"), RuntimeError("x"), IndexError()],
)
def test_whatever_a_reader_throws_is_skipped(folder, error):
    def reader(path):
        if path.endswith("0.npy"):
            raise error
        return read_npy(Path(path)) if path.endswith(".npy") else read_bin(Path(path))

    (folder / "left" / "notes.txt").unlink()
    dataset, _ = event_folder(folder, 4, reader=reader, on_bad="skip")
    assert len(dataset) == 5
    with pytest.raises(BadRecording, match=r"0\.npy: could not be decoded: " + type(error).__name__):
        event_folder(folder, 4, sensor=(16, 16), reader=reader)


@pytest.fixture
def folder(tmp_path):
    """Two classes in two formats, three good recordings each, and something that is none."""
    for i in range(3):
        write_npy(tmp_path / "mine" / "left" / f"{i}.npy", some_events(i))
        write_bin(tmp_path / "mine" / "right" / f"{i}.bin", some_events(10 + i))
    (tmp_path / "mine" / "left" / "notes.txt").write_text("ignored")
    return tmp_path / "mine"


def test_a_folder_of_recordings_becomes_a_dataset(folder):
    recordings, classes = find_event_folder(folder)
    assert classes == ["left", "right"]
    assert [r.label for r in recordings] == [0, 0, 0, 1, 1, 1]
    assert sensor_of(recordings) == (16, 16)
    whole, _ = event_folder(folder, steps=5, size=(8, 8))
    good, packed, bad = load_frames(recordings, FRAMES)
    assert (len(good), bad) == (6, [])
    assert torch.equal(whole.tensors[0], packed)
    assert whole.tensors[1].tolist() == [0, 0, 0, 1, 1, 1]
    spikes = EventSpikes(width=8)(packed)
    assert spikes.shape == (5, 6, 2, 8, 8)
    for i, recording in enumerate(recordings):
        expected = frame_events(recording.load(), 5, sensor=(16, 16), size=(8, 8)) > 0
        np.testing.assert_array_equal(spikes[:, i].numpy(), expected)


def test_any_reader_of_tonics_will_do(folder):
    reader = lambda path: tonic.io.read_mnist_file(path, dtype=tonic.datasets.NMNIST.dtype)  # noqa: E731
    (recording, *_), _ = find_event_folder(folder.rename(folder.with_name("x")) / ".", reader=reader)
    with pytest.raises(BadRecording):
        recording.load()  # left/0.npy is no such file
    recordings, _ = find_event_folder(folder.with_name("x"), reader=reader)
    np.testing.assert_array_equal(columns(recordings[-1].load()), columns(some_events(12)))


def test_another_reader_is_not_answered_from_the_cache(folder, tmp_path):
    def mirrored(path):
        events = read_npy(Path(path)) if path.endswith(".npy") else read_bin(Path(path))
        events["x"] = 15 - events["x"]
        return events

    (folder / "left" / "notes.txt").unlink()
    cache = Cache(tmp_path / "cache")
    for reader in (None, mirrored, None):
        cached, _ = event_folder(folder, 5, sensor=(16, 16), reader=reader, cache=cache)
        fresh, _ = event_folder(folder, 5, sensor=(16, 16), reader=reader)
        assert torch.equal(cached.tensors[0], fresh.tensors[0])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
    st.integers(1, 20),
    st.booleans(),
    st.sampled_from([1, 30, 10**6, 2**33]),
)
def test_resident_events_are_framed_as_others_are(lengths, steps, merge, duration):
    rng = np.random.default_rng(len(lengths) + steps)
    recordings = []
    for i, n in enumerate(lengths):
        events = some_events(i, n)
        events["t"] = np.sort(rng.integers(0, duration, n)) + i
        recordings.append(events)
    frames = Frames(steps, (16, 16), (8, 8), merge_polarities=merge)
    encode = ResidentEvents(recordings, frames)
    numbers = torch.from_numpy(rng.integers(0, len(lengths), 7))
    spikes = encode(numbers)
    expected = np.stack([np.unpackbits(frames(recordings[i]), axis=-1)[..., :8] for i in numbers.tolist()], axis=1)
    np.testing.assert_array_equal(spikes.numpy(), expected)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 34])
def test_packing_keeps_every_pixel(width):
    frames = Frames(steps=3, sensor=(40, 40), size=(width, 5), merge_polarities=True)
    events = some_events(size=40)
    spikes = EventSpikes(width)(torch.from_numpy(frames(events))[None])[:, 0]
    expected = frame_events(events, 3, sensor=(40, 40), size=(width, 5), merge_polarities=True) > 0
    np.testing.assert_array_equal(spikes.numpy(), expected)


def test_drawn_frames_are_in_order_different_and_repeatable():
    frames = torch.arange(50).expand(20, 50)
    drawn = draw_frames(frames, 10, generator=torch.Generator().manual_seed(1))
    assert (drawn.diff(dim=1) > 0).all()
    assert len({tuple(row) for row in drawn.tolist()}) > 1
    assert torch.equal(drawn, draw_frames(frames, 10, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(draw_frames(frames, 50), frames)
    with pytest.raises(ValueError, match="draw 51 of 50"):
        draw_frames(frames, 51)


def damage(folder):
    """One recording of each kind of damage, and what the error must say."""
    left, right = folder / "left", folder / "right"
    cut_bin, cut_npy = (right / "0.bin").read_bytes()[:-3], (left / "0.npy").read_bytes()[:-9]
    write_npy(left / "far.npy", columns(some_events()) + np.array([99, 0, 0, 0]))
    write_npy(left / "backwards.npy", columns(some_events())[::-1])
    write_npy(left / "empty.npy", np.zeros((0, 4), int))
    write_npy(left / "shape.npy", np.zeros((4, 5)))
    for path, content in ((left / "zero.bin", b""), (right / "cut.bin", cut_bin), (right / "cut.npy", cut_npy)):
        path.write_bytes(content)
    return {
        left / "far.npy": "outside of the sensor",
        left / "backwards.npy": "time runs backwards",
        left / "empty.npy": "no events",
        left / "shape.npy": "shape (4, 5)",
        left / "zero.bin": "empty or truncated",
        right / "cut.bin": "empty or truncated",
        right / "cut.npy": "truncated",
    }


def test_bad_recordings_are_skipped_counted_and_named(folder, caplog):
    problems = damage(folder)
    recordings, _ = find_event_folder(folder)
    good, packed, bad = load_frames(recordings, FRAMES, on_bad="skip")
    assert (len(good), len(packed), len(bad)) == (6, 6, 7)
    for path, problem in problems.items():
        (message,) = (str(b) for b in bad if str(path) in str(b))
        assert problem in message
    assert "skipped 7 of 13" in caplog.text
    with pytest.raises(BadRecording, match="backwards"):
        load_frames(recordings, FRAMES)
    with pytest.raises(ValueError, match='expected "error" or "skip"'):
        load_frames(recordings, FRAMES, on_bad="ignore")


def test_a_bad_recording_does_not_enter_the_cache(folder, tmp_path):
    damage(folder)
    recordings, _ = find_event_folder(folder)
    cache = Cache(tmp_path / "cache")
    for _ in range(2):
        good, packed, bad = load_frames(recordings, FRAMES, cache=cache, on_bad="skip")
        assert (len(good), len(bad)) == (6, 7)
    assert torch.equal(packed, load_frames(good, FRAMES)[1])


def test_nmnist_is_found_whole_or_in_part(tmp_path):
    for split, digit in (("Train", 3), ("Train", 0), ("Test", 7)):
        write_bin(tmp_path / "NMNIST" / split / str(digit) / "00001.bin", some_events())
    for root in (tmp_path, tmp_path / "NMNIST"):
        found = find_nmnist(root)
        assert [(r.split, r.label) for r in found] == [("train", 0), ("train", 3), ("test", 7)]
    write_bin(tmp_path / "NMNIST" / "Train" / "zero" / "1.bin", some_events())
    with pytest.raises(BadRecording, match="'zero' is no digit"):
        load_frames(find_nmnist(tmp_path), FRAMES)
    assert len(load_frames(find_nmnist(tmp_path), FRAMES, on_bad="skip")[0]) == 3
    with pytest.raises(FileNotFoundError, match=r"garrickorchard\.com"):
        find_nmnist(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    return simulate_dvsgesture(tmp_path_factory.mktemp("simulated"), users=((1, 2), (24, 25))).parent


def test_tonics_own_class_loads_the_simulated_gestures(gestures):
    for train, users in ((True, {1, 2}), (False, {24, 25})):
        data = tonic.datasets.DVSGesture(str(gestures), train=train)
        assert len(data) == 55 * len(users)
        assert set(data.users) == users
        assert sorted(set(data.targets)) == list(range(11))
        events, label = data[0]
        assert events.dtype == tonic.datasets.DVSGesture.dtype
        assert label == int(Path(data.data[0]).stem)
        assert (np.diff(events["t"]) >= 0).all()
        assert events["x"].max() < 128
        assert set(np.unique(events["p"])) == {False, True}


def test_dvsgesture_is_found_in_order_and_framed(gestures):
    found = find_dvsgesture(gestures)
    assert is_simulated(gestures)
    train = [r.path for r in found if r.split == "train"]
    assert train == sorted(train)
    assert len(found) == 220
    assert found[0].speaker == "user01"
    frames = Frames(steps=10, sensor=(128, 128), size=(32, 32), merge_polarities=True)
    _, packed, _ = load_frames(found[:11], frames)
    spikes = EventSpikes(width=32)(packed)
    assert spikes.shape == (10, 11, 1, 32, 32)
    raw = np.load(found[3].path)
    raw = raw[np.argsort(raw[:, 3], kind="stable")]
    window = (raw[-1, 3] - raw[0, 3]) * 1000 // 10  # tonic's time is in µs
    first = raw[(raw[:, 3] - raw[0, 3]) * 1000 < window]
    expected = np.zeros((32, 32))
    expected[first[:, 1] // 4, first[:, 0] // 4] = 1
    np.testing.assert_array_equal(spikes[0, 3, 0].numpy(), expected)


def test_dvsgesture_is_never_downloaded(tmp_path, monkeypatch):
    def download(*_):
        pytest.fail("tonic began to download")

    monkeypatch.setattr(tonic.dataset.Dataset, "download", download)
    with pytest.raises(FileNotFoundError, match=r"holds 0 recordings.*\n.*research\.ibm\.com"):
        find_dvsgesture(tmp_path)


def test_a_damaged_gesture_is_skipped(gestures, tmp_path):
    folder = shutil.copytree(gestures / "DVSGesture", tmp_path / "DVSGesture")
    found = find_dvsgesture(folder)
    for path, content in (
        (found[0].path, b""),
        (found[1].path, found[1].path.read_bytes()[:-50]),
        (found[2].path, b"not numpy"),
    ):
        path.write_bytes(content)
    np.save(found[3].path, np.zeros((0, 4), int))
    np.save(found[4].path, np.zeros((5, 3), int))
    os.rename(found[5].path, found[5].path.with_name("11.npy"))
    frames = Frames(steps=3, sensor=(128, 128), size=(32, 32))
    found = [r for r in find_dvsgesture(folder) if r.path.parent == found[0].path.parent]
    good, _, bad = load_frames(found, frames, on_bad="skip")
    assert (len(good), len(bad)) == (5, 6)


def test_simulated_gestures_are_not_replaced_in_silence(tmp_path):
    (tmp_path / "DVSGesture").mkdir()
    (tmp_path / "DVSGesture" / "SIMULATED.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="add --overwrite"):
        simulate_dvsgesture(tmp_path, users=((), ()))
    assert (tmp_path / "DVSGesture" / "SIMULATED.txt").read_text() == "mine"
    assert simulate_dvsgesture(tmp_path, users=((), ()), overwrite=True) == tmp_path / "DVSGesture"


def test_recordings_of_more_ticks_than_32_bits_keep_their_spikes():
    events = np.zeros(50, EVENT)
    events["x"], events["t"] = np.arange(50) % 8, np.linspace(0, 5e9, 50).astype(np.int64)
    frames = Frames(10, (8, 8), (8, 8))
    resident = ResidentEvents([events], frames)(torch.tensor([0]))
    assert torch.equal(resident, EventSpikes(8)(torch.from_numpy(frames(events))[None]))
    assert resident.sum() == 49  # the last event belongs to no frame


@pytest.mark.parametrize("stray", ["notes/0.npy", "user01_led/wave.npy", "0.npy"])
def test_a_gesture_in_a_wrong_place_is_named(gestures, tmp_path, stray):
    folder = shutil.copytree(gestures / "DVSGesture", tmp_path / "DVSGesture")
    path = folder / "ibmGestureTrain" / stray
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(BadRecording, match=r"is not named userNN_lighting/label\.npy"):
        find_dvsgesture(folder)


def test_simulated_gestures_follow_the_seed_and_differ_by_direction(tmp_path):
    one, again, other = (simulate_gesture(3, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert len(one) != len(other) or (one != other).any()
    with pytest.raises(ValueError, match=r"0\.\.10"):
        simulate_gesture(11, rng=np.random.default_rng(0))
    (tmp_path / "DVSGesture" / "ibmGestureTrain").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="not simulated"):
        simulate_dvsgesture(tmp_path)


@pytest.mark.parametrize(("label", "turns"), [(3, 1), (4, -1), (5, 1), (6, -1)])
def test_a_simulated_arm_turns_the_way_its_name_says(label, turns):
    """The center of the moving hand goes around the shoulder: clockwise (as seen) is x to y, y pointing down."""
    events = simulate_gesture(label, rng=np.random.default_rng(0))
    side = 64 - 16 if label in (3, 4) else 64 + 16
    far = events[np.hypot(events[:, 0] - side, events[:, 1] - 50) > 25]
    centers = np.array([part[:, :2].mean(0) for part in np.array_split(far, 60)]) - [side, 50]
    angle = np.unwrap(np.arctan2(centers[:, 1], centers[:, 0]))
    assert np.sign(angle[-1] - angle[0]) == turns
    assert abs(angle[-1] - angle[0]) > np.pi


@pytest.mark.skipif(not NMNIST.is_file(), reason="the real N-MNIST recordings are not here")
def test_real_nmnist_recordings_load(tmp_path):
    from snntorch_brp.data.archive import unpack

    unpack(NMNIST, tmp_path)
    found = find_nmnist(tmp_path)
    good, packed, bad = load_frames(found, Frames(steps=30, sensor=(34, 34), size=(34, 34)))
    assert (len(good), len(bad)) == (850, 0)
    rate = EventSpikes(34)(packed[:50]).mean().item()
    assert 0.02 < rate < 0.1  # natural spikes are sparse


@pytest.mark.gpu
def test_encoding_on_the_gpu_gives_the_same_spikes(folder):
    recordings, _ = find_event_folder(folder)
    _, packed, _ = load_frames(recordings, FRAMES)
    resident = ResidentEvents([r.load() for r in recordings], FRAMES, device="cuda")
    assert torch.equal(resident(torch.arange(6, device="cuda")).cpu(), EventSpikes(width=8)(packed))
    on_gpu = EventSpikes(width=8)(packed.cuda())
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), EventSpikes(width=8)(packed))
