"""Archives may write into their folder and nowhere else."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from snntorch_brp.data.archive import unpack

NAMES = ["set/a.txt", "../outside.txt", "/tmp/absolute.txt", "set/../../up.txt"]


def tar_of(path, names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"data"))
    return path


def zip_of(path, names):
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, b"data")
    return path


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_good_archives_are_unpacked(tmp_path, make):
    written = unpack(make(tmp_path / "archive", ["set/a.txt", "b.txt"]), tmp_path / "out")
    assert [p.read_bytes() for p in written] == [b"data", b"data"]
    assert (tmp_path / "out" / "set" / "a.txt").is_file()


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("bad", NAMES[1:])
def test_a_path_that_escapes_is_an_error_and_nothing_is_written(tmp_path, make, bad):
    archive = make(tmp_path / "archive", ["set/a.txt", bad])
    with pytest.raises(ValueError, match="leads out of"):
        unpack(archive, tmp_path / "deep" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_or_it_is_skipped_and_the_rest_unpacked(tmp_path, make, caplog):
    written = unpack(make(tmp_path / "archive", NAMES), tmp_path / "deep" / "out", on_bad="skip")
    assert [p.name for p in written] == ["a.txt"]
    assert len(caplog.records) == 3
    assert sorted(p.name for p in tmp_path.rglob("*.txt")) == ["a.txt"]


def test_links_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "archive", "w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(ValueError, match="a link"):
        unpack(tmp_path / "archive", tmp_path / "out")
    assert unpack(tmp_path / "archive", tmp_path / "out", on_bad="skip") == []


def test_a_damaged_archive_is_named(tmp_path):
    good = tar_of(tmp_path / "archive", ["a.txt"]).read_bytes()
    for content in (b"", b"nonsense" * 100, good[: len(good) // 2]):
        (tmp_path / "archive").write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            unpack(tmp_path / "archive", tmp_path / "out")
