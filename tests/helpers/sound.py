"""Sound files of our own making, with SPHERE headers too."""

from __future__ import annotations

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")


def tone(seconds=0.4, rate=8000, pitch=440.0, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * pitch * t) * np.hanning(len(t)) + rng.normal(0, 0.01, len(t))).astype(np.float32)


def write_wav(path, samples=None, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(rate=rate) if samples is None else samples, rate, format="WAV")
    return path


def write_sphere(path, samples, *, rate=20000, coding="pcm", order="01", extra=""):
    """A NIST SPHERE file as TIDigits has them: 1,024 bytes of text, then 16-bit samples."""
    body = np.round(samples * 32768).astype("<i2" if order == "01" else ">i2").tobytes()
    header = (
        f"NIST_1A\n   1024\ndatabase_id -s8 TIDIGITS\nchannel_count -i 1\nsample_count -i {len(samples)}\n"
        f"sample_rate -i {rate}\nsample_n_bytes -i 2\nsample_byte_format -s2 {order}\nsample_sig_bits -i 16\n"
        f"sample_coding -s{len(coding)} {coding}\n{extra}end_head\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode().ljust(1024) + body)
    return path
