"""The cache: right arrays only, whatever happened to its files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from snntorch_brp.data.cache import Cache, write_whole


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(b"content")
    return path


def entries(cache):
    return sorted(p for p in cache.folder.rglob("*") if p.is_file())


def test_an_array_is_made_once(tmp_path, source):
    cache, made = Cache(tmp_path / "cache"), []
    make = lambda: made.append(1) or np.arange(6.0)  # noqa: E731
    for _ in range(3):
        np.testing.assert_array_equal(cache.get(source, {"steps": 3}, make), np.arange(6.0))
    assert len(made) == 1


def test_content_and_settings_are_the_key(tmp_path, source):
    cache = Cache(tmp_path / "cache")
    get = lambda path, settings, value: cache.get(path, settings, lambda: np.array(value)).item()  # noqa: E731
    assert get(source, {"a": 1, "b": 2}, 1) == 1
    assert get(source, {"b": 2, "a": 1}, 9) == 1  # the order of settings is none
    assert get(source, {"a": 1, "b": 3}, 2) == 2
    copy = source.with_name("copy")
    copy.write_bytes(b"content")
    assert get(copy, {"a": 1, "b": 2}, 9) == 1  # the name is none either
    source.write_bytes(b"CONTENT")
    os.utime(source, ns=(1, 1))
    assert get(source, {"a": 1, "b": 2}, 3) == 3


@pytest.mark.parametrize("keep", [0, 3, 70, 130])
def test_a_half_written_entry_is_made_anew(tmp_path, source, keep, caplog):
    cache = Cache(tmp_path / "cache")
    cache.get(source, {}, lambda: np.arange(5))
    (entry,) = entries(cache)
    entry.write_bytes(entry.read_bytes()[:keep])
    np.testing.assert_array_equal(cache.get(source, {}, lambda: np.arange(7)), np.arange(7))
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(np.load(entry), np.arange(7))


def test_an_entry_is_never_unpickled(tmp_path, source):
    cache = Cache(tmp_path / "cache")
    cache.get(source, {}, lambda: np.arange(5))
    (entry,) = entries(cache)
    np.save(entry, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(cache.get(source, {}, lambda: np.arange(7)), np.arange(7))


def test_a_killed_writer_leaves_no_entry(tmp_path, monkeypatch):
    def interrupted(file, array, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "entry.npy", np.arange(5))
    assert list(tmp_path.iterdir()) == []


def _write_often(folder, value, times=40):
    for _ in range(times):
        write_whole(folder / "entry.npy", np.full(50_000, value))


def test_a_writer_killed_at_any_moment_leaves_whole_entries(tmp_path):
    _write_often(tmp_path, 7)
    context = multiprocessing.get_context("fork")
    for delay in (0.01, 0.02, 0.03, 0.04):
        writer = context.Process(target=_write_often, args=(tmp_path, 8, 100_000))
        writer.start()
        time.sleep(delay)
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        array = np.load(tmp_path / "entry.npy")
        assert array.shape == (50_000,)
        assert (array == array[0]).all()


def test_two_writers_leave_one_whole_entry(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(tmp_path, value)) for value in (1, 2)]
    _write_often(tmp_path, 0)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        array = np.load(tmp_path / "entry.npy")  # fails on a half-written file
        assert array.shape == (50_000,)
        assert (array == array[0]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["entry.npy"]
    assert [writer.exitcode for writer in writers] == [0, 0]
