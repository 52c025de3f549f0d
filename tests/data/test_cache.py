"""The cache: right arrays only, whatever happened to its files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from snntorch_brp.data.cache import Cache, write_entry


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


def test_a_flipped_bit_or_another_entry_is_found(tmp_path, source, caplog):
    cache = Cache(tmp_path / "cache")
    cache.get(source, {}, lambda: np.arange(500))
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    cache.get(source, {"other": 1}, lambda: np.zeros(500))
    (foreign,) = set(entries(cache)) - {entry}
    flipped = bytes([*whole[:900], whole[900] ^ 2, *whole[901:]])
    for content in (flipped, foreign.read_bytes(), whole + b"x", b""):
        entry.write_bytes(content)
        caplog.clear()
        np.testing.assert_array_equal(cache.get(source, {}, lambda: np.arange(500)), np.arange(500))
        assert "made anew" in caplog.text
        assert entry.read_bytes() == whole


def test_an_unreadable_entry_is_no_bad_recording(tmp_path, source, caplog):
    cache = Cache(tmp_path / "cache")
    cache.get(source, {}, lambda: np.arange(5))
    (entry,) = entries(cache)
    entry.unlink()
    entry.mkdir()
    np.testing.assert_array_equal(cache.get(source, {}, lambda: np.arange(5)), np.arange(5))
    assert "could not be written" in caplog.text


def test_old_leftovers_are_removed(tmp_path, source):
    cache = Cache(tmp_path / "cache")
    (cache.folder / "ab").mkdir(parents=True)
    old, new = (cache.folder / "ab" / f".{name}.npy.1.partial" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (1, 1))
    cache.get(source, {}, lambda: np.arange(5))
    assert (old.exists(), new.exists()) == (False, True)


def test_without_a_home_the_cache_is_a_temporary_folder(monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for home in (no_home, lambda: Path("/")):
        monkeypatch.setattr(Path, "home", home)
        caplog.clear()
        assert Cache.default().folder.is_relative_to(tempfile.gettempdir())
        assert "no home folder" in caplog.text


def test_an_entry_is_never_unpickled(tmp_path, source):
    cache = Cache(tmp_path / "cache")
    cache.get(source, {}, lambda: np.arange(5))
    (entry,) = entries(cache)
    np.save(entry, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(cache.get(source, {}, lambda: np.arange(7)), np.arange(7))


def test_a_killed_writer_leaves_no_entry(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_entry(tmp_path / "entry.npy", b"", np.arange(5))
    assert list(tmp_path.iterdir()) == []


def _write_often(folder, value, times=40):
    for _ in range(times):
        write_entry(folder / "entry.npy", b"", np.full(50_000, value))


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
