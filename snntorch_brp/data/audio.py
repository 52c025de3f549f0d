"""Sound files to samples: RIFF (ordinary wav) and FLAC through soundfile, and the NIST SPHERE files of the LDC."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snntorch_brp.data.optional import SPEECH, require
from snntorch_brp.data.recordings import BadRecording, one_sentence

logger = logging.getLogger(__name__)

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz: of telephones and less, and of the best converters
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
BLOCK = 1 << 16  # samples read at a time
LONGEST = 1 << 28  # samples: nine hours at 8 kHz


def read_audio(path: Path, *, rate: int | None = None) -> tuple[Tensor, int]:
    """Read a mono recording.

    Args:
        path: A wav file, RIFF or NIST SPHERE whatever its name says.
        rate: The sampling rate that it must have, in Hz.

    Returns:
        The samples [L], float32 in -1..1, and their rate in Hz.

    Raises:
        BadRecording: If it is no sound file, compressed, truncated, not mono, silent, or of another rate.
    """
    data = path.read_bytes()
    with one_sentence(path):
        samples, found = _sphere(path, data) if data[:7] == b"NIST_1A" else _riff(path, data)
    if not LOWEST_RATE <= found <= HIGHEST_RATE:
        raise BadRecording(f"{path}: sampled at {found} Hz, expected {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz: damaged?")
    if rate is not None and found != rate:
        raise BadRecording(f"{path}: sampled at {found} Hz, expected {rate} Hz: resample it first")
    if samples.shape[1] != 1:
        raise BadRecording(f"{path}: has {samples.shape[1]} channels, expected 1: mix it down first")
    if not np.isfinite(samples).all():
        place = int(np.flatnonzero(~np.isfinite(samples[:, 0]))[0])
        raise BadRecording(f"{path}: sample {place} is {samples[place, 0]}: expected finite ones")
    if not samples.any():
        raise BadRecording(f"{path}: {'silent' if len(samples) else 'empty'}: expected a recorded sound")
    return torch.from_numpy(samples[:, 0].copy()), found


def _riff(path: Path, data: bytes) -> tuple[np.ndarray, int]:
    """[L, channels] float32 and the rate of a wav or FLAC file, through libsndfile."""
    soundfile = require("soundfile", install=SPEECH)
    if data[:4] == b"RIFF":
        _check_whole(path, data)
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.format not in FORMATS:
                raise BadRecording(f"{path}: is a {file.format} file, expected wav: convert it first")
            lossless = file.format == "FLAC"
            kind = "int32" if lossless else "float32"
            blocks = [file.read(BLOCK, dtype=kind, always_2d=True)]
            while len(blocks[-1]) == BLOCK and len(blocks) * BLOCK <= LONGEST:
                blocks.append(file.read(BLOCK, dtype=kind, always_2d=True))
            told, rate = file.frames, int(file.samplerate)
    except soundfile.SoundFileError as error:
        raise BadRecording(f"{path}: not a sound file, or a damaged one: {error}") from error
    samples = np.concatenate(blocks)
    if len(samples) > LONGEST:
        raise BadRecording(f"{path}: longer than {LONGEST:,} samples: cut it first")
    if len(samples) != told:
        raise BadRecording(f"{path}: truncated: {len(samples)} samples, the header promises {told}")
    if lossless:
        _check_flac(path, data, samples)
        samples = (samples / 2**31).astype(np.float32)
    return samples, rate


def _check_flac(path: Path, data: bytes, samples: np.ndarray) -> None:
    """Raise if the samples are not those that were encoded: libsndfile hands out what is left of a damaged frame.

    A FLAC file holds the MD5 of its samples, little-endian and interleaved, each in whole bytes (RFC 9639, 8.2); an
    encoder that writes into a pipe leaves zeros there.
    """
    header = data[(data.index(b"fLaC") + 8) :][:34]
    bits, digest = ((header[12] & 1) << 4 | header[13] >> 4) + 1, header[18:]
    if not any(digest):
        logger.warning("%s holds no checksum of its sound, so that damage to it cannot be seen: encode it anew", path)
        return
    whole = np.ascontiguousarray(samples >> (32 - bits), "<i4").view(np.uint8).reshape(-1, 4)
    if hashlib.md5(whole[:, : -(-bits // 8)].tobytes(), usedforsecurity=False).digest() != digest:
        raise BadRecording(f"{path}: damaged: its sound does not fit the checksum that the file holds of it")


def _check_whole(path: Path, data: bytes) -> None:
    """Raise if a RIFF file's chunk of samples is longer than the file: libsndfile would read what is there."""
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8
        if name == b"data":
            if size > len(data) - place:
                there = len(data) - place
                raise BadRecording(f"{path}: truncated: {there} bytes of samples, the header promises {size}")
            return
        place += size + size % 2  # chunks begin at even places


def _sphere(path: Path, data: bytes) -> tuple[np.ndarray, int]:
    """[L, channels] float32 and the rate of a SPHERE file of plain 16-bit samples."""
    fields = sphere_header(path, data)
    coding = str(fields.get("sample_coding", "pcm"))
    if "shorten" in coding:
        raise BadRecording(
            f"{path}: is compressed with shorten ({coding}); expand it with the LDC's sph2pipe: "
            f"sph2pipe -f rif {path.name} OUT.wav"
        )
    width = fields.get("sample_n_bytes", 2)
    if coding != "pcm" or width != 2:
        raise BadRecording(f"{path}: holds {width}-byte samples coded {coding!r}, expected 2-byte 'pcm'")
    try:
        rate, count, channels = (int(fields[k]) for k in ("sample_rate", "sample_count", "channel_count"))
    except KeyError as missing:
        raise BadRecording(f"{path}: its SPHERE header lacks {missing}") from missing
    if count < 0 or channels < 1:
        raise BadRecording(f"{path}: its SPHERE header tells {count} samples of {channels} channels")
    order = ">" if fields.get("sample_byte_format", "01") == "10" else "<"
    body = data[int(data[8:16]) :]
    if len(body) < 2 * count * channels:
        raise BadRecording(
            f"{path}: truncated: {len(body)} bytes of samples, the header promises {2 * count * channels}"
        )
    samples = np.frombuffer(body, f"{order}i2", count * channels).reshape(count, channels)
    return samples.astype(np.float32) / 32768, rate


def sphere_header(path: Path, data: bytes) -> dict[str, int | float | str]:
    """The fields of a NIST SPHERE header.

    It is text: "NIST_1A", its own size in bytes, then a line "name -i|-r|-s{length} value" a field, up to
    "end_head".

    Raises:
        BadRecording: If it is truncated or damaged.
    """
    try:
        size = int(data[8:16])
        text = data[16:size].decode("ascii")
        body, end, _ = text.partition("end_head")
        if not end or len(data) < size:
            raise ValueError("it does not end")
        fields: dict[str, int | float | str] = {}
        for line in body.splitlines():
            if line.strip() and not line.startswith(";"):
                name, kind, value = line.split(None, 2)
                fields[name] = int(value) if kind == "-i" else float(value) if kind == "-r" else value.strip()
    except ValueError as error:
        raise BadRecording(f"{path}: its SPHERE header is damaged or truncated: {error}") from error
    return fields
