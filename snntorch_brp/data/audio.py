"""Sound files to samples: RIFF (ordinary wav) through soundfile, and the NIST SPHERE files of the LDC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snntorch_brp.data.optional import SPEECH, require
from snntorch_brp.data.recordings import BadRecording


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
    samples, found = _sphere(path, data) if data[:7] == b"NIST_1A" else _riff(path)
    if rate is not None and found != rate:
        raise BadRecording(f"{path}: sampled at {found} Hz, expected {rate} Hz: resample it first")
    if samples.shape[1] != 1:
        raise BadRecording(f"{path}: has {samples.shape[1]} channels, expected 1: mix it down first")
    if not np.isfinite(samples).all() or not samples.any():
        raise BadRecording(f"{path}: {'silent' if len(samples) else 'empty'}: expected a recorded sound")
    return torch.from_numpy(samples[:, 0].copy()), found


def _riff(path: Path) -> tuple[np.ndarray, int]:
    """[L, channels] float32 and the rate of anything that libsndfile reads."""
    soundfile = require("soundfile", install=SPEECH)
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise BadRecording(f"{path}: not a sound file, or a damaged one: {error}") from error
    return samples, int(rate)


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
