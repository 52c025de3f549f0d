"""Spoken digits: sound files of our own making, SPHERE headers included, against librosa and soundfile."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import tone, write_sphere, write_wav

from snntorch_brp.data.audio import read_audio
from snntorch_brp.data.cache import Cache
from snntorch_brp.data.filterbank import FilterBank, mel_energies, steps_of
from snntorch_brp.data.folders import find_wav_folder, sound_folder
from snntorch_brp.data.recordings import BadRecording, Recording
from snntorch_brp.data.speech import SpeechSpikes, find_fsdd, find_tidigits, load_energies
from snntorch_brp.data.splits import split
from snntorch_brp.tasks.files import check

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
librosa = pytest.importorskip("librosa", reason="librosa is not installed")


@pytest.mark.parametrize("order", ["01", "10"])
def test_sphere_files_are_read_as_libsndfile_reads_them(tmp_path, order):
    path = write_sphere(tmp_path / "1a.wav", tone(rate=20000), order=order)
    samples, rate = read_audio(path)
    expected, expected_rate = soundfile.read(path, dtype="float32")
    assert rate == expected_rate == 20000
    np.testing.assert_array_equal(samples.numpy(), expected)


def test_a_sphere_file_written_by_libsndfile_is_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 8000, format="NIST", subtype="PCM_16")
    samples, rate = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(samples.numpy(), soundfile.read(tmp_path / "a.wav", dtype="float32")[0])
    assert rate == 8000


def test_bad_sounds_are_told_apart(tmp_path):
    path = tmp_path / "a.wav"

    def error():
        with pytest.raises(BadRecording) as caught:
            read_audio(path, rate=8000)
        assert str(path) in str(caught.value)
        return str(caught.value)

    write_sphere(path, tone(), rate=8000, coding="pcm,embedded-shorten-v2.00")
    assert "sph2pipe" in error()
    write_sphere(path, tone(), rate=8000, coding="ulaw")
    assert "coded 'ulaw'" in error()
    content = write_sphere(path, tone(), rate=8000).read_bytes()
    path.write_bytes(content[:-10])
    assert "truncated" in error()
    path.write_bytes(content[:500])
    assert "truncated" in error()
    path.write_bytes(content.replace(b"sample_rate -i 8000", b"sample_rate -i many"))
    assert "damaged" in error()
    path.write_bytes(content.replace(b"sample_rate", b"simple_rate"))
    assert "lacks 'sample_rate'" in error()
    write_wav(path, rate=16000)
    assert "sampled at 16000 Hz, expected 8000 Hz" in error()
    write_wav(path, np.stack([tone(), tone()], 1))
    assert "2 channels" in error()
    write_wav(path, np.zeros(4000))
    assert "silent" in error()
    write_wav(path, np.zeros(0))
    assert "empty" in error()
    path.write_bytes(b"RIFF and no more")
    assert "damaged" in error()


def flac(samples, rate=8000, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype=subtype)
    return buffer.getvalue()


def test_a_cut_wav_is_truncated(tmp_path):
    whole = write_wav(tmp_path / "a.wav").read_bytes()
    for cut in (45, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.wav").write_bytes(whole[:cut])
        with pytest.raises(BadRecording, match=r"a\.wav: truncated: \d+ bytes of samples, the header promises 6400"):
            read_audio(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes(whole.replace(struct.pack("<I", 6400), b"\xff\xff\xff\xff"))
    with pytest.raises(BadRecording, match="the header promises 4294967295"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_damaged_flac_sound_is_told(tmp_path, subtype, caplog):
    """libsndfile gives out what is left of a damaged frame."""
    content = bytearray(flac(tone(), subtype=subtype))
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    expected, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(read_audio(path)[0].numpy(), expected)
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(BadRecording, match=r"a\.wav: "):
        read_audio(path)
    content[26:42] = bytes(16)  # no checksum: an encoder that wrote into a pipe
    path.write_bytes(content)
    try:
        read_audio(path)
        assert "a.wav holds no checksum of its sound" in caplog.text
    except BadRecording:  # libFLAC noticed by itself
        pass


def test_a_flac_that_promises_too_much_sets_nothing_aside(tmp_path):
    content = bytearray(flac(tone()))
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == 3200
    content[21] |= 15
    content[22:26] = b"\xff" * 4  # 2^36 samples
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(BadRecording, match=r"a\.wav: "):
        read_audio(path)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20  # bytes: it tells 256 GiB
    tracemalloc.stop()


@pytest.mark.parametrize(
    "field", [b"sample_rate -i 0", b"sample_rate -i -5", b"sample_rate -r inf", b"sample_rate -i 1"]
)
def test_a_sphere_file_with_no_rate_is_damaged(tmp_path, field):
    path = write_sphere(tmp_path / "a.wav", tone(), rate=8000)
    content = path.read_bytes().replace(b"sample_rate -i 8000", field)
    path.write_bytes(content[:1024].ljust(1024)[:1024] + content[-6400:])
    with pytest.raises(BadRecording, match=r"a\.wav: "):
        read_audio(path)


def test_a_negative_count_of_samples_is_damage(tmp_path):
    path = write_sphere(tmp_path / "a.wav", tone(), rate=8000)
    path.write_bytes(path.read_bytes().replace(b"sample_count -i 3200", b"sample_count -i -1  "))
    with pytest.raises(BadRecording, match="tells -1 samples"):
        read_audio(path)


def test_energies_that_are_no_numbers_are_bad(tmp_path):
    loud, click, broken = tone(), np.zeros(4000, np.float32), tone()
    loud[5], click[0], broken[7] = 1e30, 1.0, np.nan  # the first window begins with a weight of 0
    for name, samples in (("loud", loud), ("click", click), ("broken", broken)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", samples, 8000, format="WAV", subtype="FLOAT")
        with pytest.raises(BadRecording, match=rf"{name}.a\.wav: (the energies|sample 7 is nan)"):
            load_energies([r for r in find_wav_folder(tmp_path)[0] if name in str(r.path)], FilterBank())
    assert len(check(tmp_path).damaged) == 3


def test_the_case_of_a_suffix_does_not_matter(fsdd):
    path = next((fsdd / "recordings").glob("*.wav"))
    path.rename(path.with_suffix(".WAV"))
    assert len(find_fsdd(fsdd)) == 160


@settings(deadline=None, max_examples=25)
@given(st.integers(248, 12_000), st.sampled_from([8000, 16000, 20000]), st.sampled_from([(30, 30), (40, 12)]))
def test_energies_are_librosas(length, rate, shape):
    """Same filters, windows and spectrum: equal to float32 rounding of sums over up to 4,097 bins."""
    bands, frames = shape
    samples = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    step, n_fft = steps_of(length, frames)
    padding = n_fft // 2 - step  # librosa, too, centers a short window in n_fft samples
    expected = librosa.feature.melspectrogram(
        y=np.pad(samples[: (frames + 1) * step], padding), sr=rate, n_fft=n_fft, hop_length=step, win_length=2 * step,
        center=False, n_mels=bands,
    )  # fmt: skip
    ours = mel_energies(torch.from_numpy(samples), rate, bands=bands, frames=frames)
    np.testing.assert_allclose(ours.numpy(), expected.T, rtol=1e-4, atol=1e-6 * expected.max())
    db = librosa.power_to_db(expected, ref=np.max, top_db=60)
    bank = FilterBank(bands=bands, frames=frames, range_db=60)(torch.from_numpy(samples), rate)
    np.testing.assert_allclose(bank.numpy(), 1 + db.T / 60, atol=1e-4)


def test_a_tone_lies_in_its_band_whatever_its_length():
    centers = librosa.mel_frequencies(32, fmin=0, fmax=4000)[1:-1]
    for seconds in (0.1, 0.4, 1.3):
        for band in (8, 20, 28):
            energies = FilterBank()(torch.from_numpy(tone(seconds, pitch=centers[band])), rate=8000)
            assert energies.shape == (30, 30)
            assert abs(int(energies[15].argmax()) - band) <= 1
            assert energies.max() == 1
            assert energies.min() >= 0


def test_a_recording_shorter_than_its_frames_is_an_error():
    with pytest.raises(BadRecording, match="100 samples are too short for 30 frames: expected 248"):
        FilterBank()(torch.randn(100), rate=8000)


def test_spikes_follow_the_energies():
    energies = torch.rand(4, 30, 30, generator=torch.Generator().manual_seed(0))
    seeded = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    image = SpeechSpikes("2d", steps=400, alpha=1.0, generator=seeded())(energies)
    assert image.shape == (400, 4, 1, 30, 30)
    # a rate over 400 steps has a standard deviation of at most 0.025: five of them
    torch.testing.assert_close(image.mean(0).squeeze(1), energies, atol=0.125, rtol=0)
    column = SpeechSpikes("1d", alpha=0.1)(energies)
    assert column.shape == (30, 4, 1, 30)
    certain = energies > 0.1
    assert column.squeeze(2).transpose(0, 1)[certain].all()  # α = 0.1: what is brighter always fires
    assert torch.equal(
        SpeechSpikes("1d", generator=seeded())(energies), SpeechSpikes("1d", generator=seeded())(energies)
    )
    with pytest.raises(ValueError, match='"1d" or "2d"'):
        SpeechSpikes("3d")


@pytest.fixture
def tidigits(tmp_path):
    root = tmp_path / "tidigits"
    for part, group, speaker in (("train", "man", "ae"), ("train", "girl", "bc"), ("test", "woman", "xy")):
        for name in ("za", "zb", "1a", "9b", "oa", "19a", "z5o1a"):
            write_sphere(root / part / group / speaker / f"{name}.wav", tone(rate=20000, seed=len(name)))
    return root


def test_tidigits_gives_isolated_digits_without_oh(tidigits):
    for root in (tidigits, tidigits.parent):
        found = find_tidigits(root)
        assert len(found) == 12
        assert {(r.path.name, r.label) for r in found} == {("za.wav", 0), ("zb.wav", 0), ("1a.wav", 1), ("9b.wav", 9)}
        assert {(r.split, r.speaker) for r in found} == {("train", "ae"), ("train", "bc"), ("test", "xy")}
    _, energies, bad = load_energies(found, FilterBank())
    assert energies.shape == (12, 30, 30)
    assert not bad
    with pytest.raises(FileNotFoundError, match="LDC93S10"):
        find_tidigits(tidigits / "train" / "man" / "ae")


def test_bad_parts_of_tidigits_are_skipped(tidigits):
    write_sphere(tidigits / "train" / "robot" / "r2" / "5a.wav", tone(rate=20000))
    write_sphere(tidigits / "train" / "man" / "ae" / "hello.wav", tone(rate=20000))
    write_sphere(tidigits / "train" / "man" / "ae" / "7a.wav", tone(rate=20000), coding="pcm,embedded-shorten-v2.00")
    write_sphere(tidigits / "train" / "man" / "ae" / "8a.wav", tone(rate=20000)[:50])
    write_wav(tidigits / "train" / "man" / "ae" / "6a.wav", rate=8000)
    found = find_tidigits(tidigits)
    good, _, bad = load_energies(found, FilterBank(), on_bad="skip")
    assert (len(good), len(bad)) == (12, 5)
    with pytest.raises(BadRecording):
        load_energies(found, FilterBank())


@pytest.fixture
def fsdd(tmp_path):
    for speaker in ("anna", "ben", "cleo", "dan"):
        for digit in range(10):
            for index in (0, 4, 5, 11):
                write_wav(tmp_path / "recordings" / f"{digit}_{speaker}_{index}.wav", tone(0.1, pitch=200 + 50 * digit))
    return tmp_path


def test_fsdd_is_found_and_cached(fsdd, monkeypatch):
    found = find_fsdd(fsdd)
    assert len(found) == 160
    assert {(r.label, r.speaker, r.split) for r in found if r.path.name == "7_ben_4.wav"} == {(7, "ben", "test")}
    cache = Cache(fsdd / "cache")
    _, energies, _ = load_energies(found, FilterBank(), cache=cache)
    monkeypatch.setattr("snntorch_brp.data.filterbank.torch.stft", None)  # a second time nothing is computed
    _, again, _ = load_energies(found, FilterBank(), cache=cache)
    assert torch.equal(energies, again)
    with pytest.raises(FileNotFoundError, match="free-spoken-digit-dataset"):
        find_fsdd(fsdd / "cache")


def test_a_folder_of_wavs_becomes_a_dataset(tmp_path):
    for i, name in enumerate(["cat", "cat", "dog"]):
        write_wav(tmp_path / name / f"{i}.wav", rate=16000)
    write_wav(tmp_path / "dog" / "other.wav", rate=8000)
    found, classes = find_wav_folder(tmp_path)
    assert classes == ["cat", "dog"]
    good, _, bad = load_energies(found, FilterBank(), on_bad="skip")
    assert [r.label for r in good] == [0, 0, 1]
    assert sound_folder(tmp_path, on_bad="skip")[0].tensors[1].tolist() == [0, 0, 1]
    assert "8000 Hz, expected 16000 Hz" in str(bad[0])


def test_splits_say_what_they_are(fsdd):
    found = find_fsdd(fsdd)
    for by in ("corpus", "random", "speaker"):
        train, test, _ = split(found, by)
        assert sorted(train + test) == list(range(160))
        assert split(found, by) == split(found, by)
    assert {found[i].split for i in split(found, "corpus").test} == {"test"}
    random = split(found, "random", seed=3)
    assert len(random.test) == 48
    assert random.test != split(found, "random", seed=4).test
    assert random.description == "random 70/30 split of the recordings, seed 3"
    held = split(found, "speaker", speaker="ben")
    assert {found[i].speaker for i in held.test} == {"ben"}
    assert "ben" not in {found[i].speaker for i in held.train}
    assert held.description == "held-out speaker (ben)"
    assert len({found[i].speaker for i in split(found, "speaker").test}) == 1
    assert len({found[i].speaker for i in split(found, "speaker", test_share=0.5).test}) == 2


def test_impossible_splits_are_errors():
    alike = [Recording(Path(str(i)), 0, lambda: None, "train") for i in range(4)]
    with pytest.raises(ValueError, match="leaves 4 recordings to train on and 0 to test on"):
        split(alike, "corpus")
    with pytest.raises(ValueError, match="no recording of speaker 'eve'; there are none"):
        split(alike, "speaker", speaker="eve")
    with pytest.raises(ValueError, match="leaves 4"):
        split(alike, "speaker")
    with pytest.raises(ValueError, match='expected "corpus"'):
        split(alike, "half")


@pytest.mark.gpu
def test_the_filter_bank_on_the_gpu_is_the_same(fsdd):
    found = find_fsdd(fsdd)[:5]
    torch.testing.assert_close(
        load_energies(found, FilterBank(), device="cuda")[1], load_energies(found, FilterBank())[1], atol=1e-4, rtol=0
    )
