"""Archives may write into their folder and nowhere else."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from snntorch_brp.cli import main
from snntorch_brp.data.archive import Limits, unpack

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


def random_tar(files=20, size=3000):
    """A tar of random files, whose headers lie 512 + 3072 bytes apart."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(files):
            info = tarfile.TarInfo(f"d/f{i}")
            info.size = size
            tar.addfile(info, io.BytesIO(rng.bytes(size)))
    return buffer.getvalue()


def flip(content, place, bits=0xFF):
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def refused(tmp_path, content, match, **options):
    """The archive is refused with its name, and nothing is left of it."""
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        unpack(tmp_path / "archive", tmp_path / "deep" / "out", **options)
    assert str(tmp_path / "archive") in str(error.value)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_flipped_byte_of_a_compressed_archive_is_found(tmp_path, pack):
    content = pack(random_tar())
    for place in (len(content) // 3, len(content) // 2, len(content) - 6):
        refused(tmp_path, flip(content, place), "damaged")
    refused(tmp_path, content[: len(content) // 2], "damaged")
    (tmp_path / "archive").write_bytes(content)
    assert len(unpack(tmp_path / "archive", tmp_path / "out")) == 20


def test_a_damaged_header_is_no_end(tmp_path):
    content = random_tar()
    refused(tmp_path, flip(content, 10 * 3584 + 150, 1), "damaged header at byte 35,840")
    refused(tmp_path, content[: 10 * 3584], "mark of its end is missing")
    refused(tmp_path, content[: 10 * 3584 + 700], "damaged")
    refused(tmp_path, bytes(1024), "holds no files")


def test_nothing_is_replaced_in_silence(tmp_path):
    (tmp_path / "set.tar").write_bytes(content := random_tar(3))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f1").write_text("my own")
    with pytest.raises(ValueError, match=r"f1 is there already: nothing was unpacked.*--overwrite"):
        unpack(tmp_path / "set.tar", tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["d", "f1", "set.tar"]
    assert (tmp_path / "d" / "f1").read_text() == "my own"
    assert len(unpack(tmp_path / "set.tar", tmp_path, overwrite=True)) == 3
    assert (tmp_path / "d" / "f1").read_bytes() == content[3584 + 512 : 3584 + 3512]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["d", "f0", "f1", "f2", "set.tar"]


def test_a_zip_whose_list_swallows_members_is_refused(tmp_path):
    """One damaged length makes a comment of all entries behind the first: zipfile then knows one member."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name in ("a.txt", "b.txt", "c.txt"):
            zipped.writestr(name, b"data")
    content = bytearray(packed.getvalue())
    first, last = content.index(b"PK\1\2"), content.rindex(b"PK\5\6")
    struct.pack_into("<H", content, first + 32, last - content.index(b"PK\1\2", first + 1))
    (tmp_path / "a.zip").write_bytes(content)
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["a.txt"]
    with pytest.raises(ValueError, match=r"a\.zip.*its list has 1 members of 3"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_a_circle_are_told(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    archive = tar_of(tmp_path / "data.tar.gz", ["set/a.txt"])
    with pytest.raises(OSError, match="symbolic links"):
        unpack(archive, tmp_path / "loop")
    assert main(["data", "unpack", str(archive), str(tmp_path / "loop")]) == 1
    assert "symbolic links" in capsys.readouterr().err


def test_an_archive_does_not_replace_itself(tmp_path):
    archive = tar_of(tmp_path / "set.tar", ["notes.txt", "set.tar", "z.bin"])
    before = archive.read_bytes()
    with pytest.raises(ValueError, match=r"set\.tar is there already"):
        unpack(archive, tmp_path)
    assert archive.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["set.tar"]


def test_one_name_for_two_things_is_refused(tmp_path):
    refused(tmp_path, tar_of(tmp_path / "archive", ["a", "a"]).read_bytes(), "twice")
    refused(tmp_path, tar_of(tmp_path / "archive", ["a", "a/b"]).read_bytes(), "twice")
    refused(tmp_path, tar_of(tmp_path / "archive", ["a/b", "a"]).read_bytes(), "twice")


def sparse(real):
    """A header of 512 bytes that tells a file of ``real`` bytes, all of them a hole."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    number = lambda n: b"%011o\0" % n if n < 8**11 else b"\x80" + n.to_bytes(11, "big")  # noqa: E731
    block[156:157], block[386:398], block[398:410], block[483:495] = b"S", number(real - 1), number(0), number(real)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


def test_bombs_are_refused_by_what_they_tell(tmp_path):
    refused(tmp_path, sparse(1 << 60), "more than the limit of 68,719,476,736: raise it with --max-size")
    refused(tmp_path, sparse(1 << 60), "more than 1,000 to 1", limits=Limits(bytes=1 << 62))
    refused(tmp_path, sparse(1 << 60), "free on the disk", limits=Limits(bytes=1 << 62, ratio=float("inf")))
    refused(tmp_path, random_tar(20), "more than 19 members", limits=Limits(files=19))
    with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", bytes(100 << 20))
    refused(tmp_path, (tmp_path / "archive").read_bytes(), "more than 1,000 to 1: raise it with --max-ratio")
    limits = Limits(ratio=2000)
    (written,) = unpack(tmp_path / "archive", tmp_path / "out", limits=limits)
    assert written.stat().st_size == 100 << 20


def test_the_head_of_a_member_is_no_bomb(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    head = info.tobuf(tarfile.GNU_FORMAT)
    for content in (head + bytes(1024), gzip.compress(head + bytes(100 << 20), 1)):
        tracemalloc.start()
        refused(tmp_path, content, "head tells 8,589,93")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
        tracemalloc.stop()


def test_zips_that_cannot_be_read_are_told_in_a_sentence(tmp_path):
    content = zip_of(tmp_path / "archive", ["f"]).read_bytes()
    central, local = content.find(b"PK\1\2"), content.find(b"PK\3\4")
    refused(tmp_path, flip(flip(content, central + 8, 1), local + 6, 1), "protected by a password")
    refused(tmp_path, flip(content, central + 10, 99), "damaged: ")
    refused(tmp_path, content[: central + 6] + struct.pack("<H", 900) + content[central + 8 :], "damaged: zip file ver")
    refused(tmp_path, content.replace(b"data", b"dada"), "damaged: Bad CRC")
    refused(tmp_path, zip_of(tmp_path / "archive", ["f"]).read_bytes().replace(b"f", b"/", 1), "damaged")


def test_a_failed_move_is_undone(tmp_path, monkeypatch):
    (tmp_path / "set.tar").write_bytes(random_tar(3))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f0").write_text("my own")
    replace = os.replace

    def full(source, target):
        if str(target).endswith("f2"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(tmp_path / "set.tar", tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["d", "f0", "set.tar"]
    assert (tmp_path / "d" / "f0").read_text() == "my own"


def test_the_command_has_the_options(tmp_path, capsys):
    (tmp_path / "set.tar").write_bytes(random_tar(3))
    command = ["data", "unpack", str(tmp_path / "set.tar"), str(tmp_path / "out")]
    assert main([*command, "--max-size", "5K"]) == 1
    assert not (tmp_path / "out").exists()
    assert "--max-size" in capsys.readouterr().err
    assert main([*command, "--max-size", "1M"]) == 0
    assert main(command) == 1
    assert main([*command, "--overwrite"]) == 0
    for bad in ([*command[:3], ""], [*command, "--max-size", "many"], [*command, "--max-ratio", "nan"]):
        with pytest.raises(SystemExit):
            main(bad)
