"""Damage to bytes, drawn from a seed."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


Tell = Callable[[str, int, str], None]
"""The fixture ``tell``."""


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One to three changes, half of them within the first 128 bytes, where the headers are."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        content = draw.choice(CHANGES)(content or b"\0", draw)
    return content


def _place(content: bytes, draw: random.Random) -> int:
    return draw.randrange(min(len(content), 128) if draw.random() < 0.5 else len(content))


def _flip(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def _set(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return (
        content[:place] + bytes([draw.choice((0, 255, draw.randrange(256), ord("-"), ord("9")))]) + content[place + 1 :]
    )


def _number(content: bytes, draw: random.Random) -> bytes:
    place, width = _place(content, draw), draw.choice((2, 4, 8))
    number = draw.choice(NUMBERS) % (1 << 8 * width)
    return content[:place] + number.to_bytes(width, draw.choice(("little", "big"))) + content[place + width :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + draw.randbytes(draw.randint(1, 40)) + content[place:]


def _delete(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + content[place + draw.randint(1, 40) :]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + content[place : place + draw.randint(1, 600)] * 2 + content[place:]


def _append(content: bytes, draw: random.Random) -> bytes:
    return content + draw.choice((b"\0", b"\0" * 512, draw.randbytes(20)))


CHANGES = (_flip, _flip, _set, _number, _cut, _insert, _delete, _repeat, _append)


def numbers(cases: int | None, seconds: float = 0.0) -> Iterator[int]:
    """0, 1, 2...: so many, or for so many seconds; each seeds one case of a trial."""
    end = time.monotonic() + seconds
    for number in itertools.count():
        if number >= cases if cases is not None else time.monotonic() >= end:
            return
        yield number
