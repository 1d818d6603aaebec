"""Saved slots that are not what they seem."""

from __future__ import annotations

from pathlib import Path


def forge(source: Path, target: Path) -> None:
    """A slot's file with numbers that are none, and a checksum that is right."""
    data = source.read_bytes()
    start = 40 + 4 * int.from_bytes(data[32:36], "little")
    forged = data[:start] + b"\xff\x7f" * ((len(data) - start - 8) // 2)
    value = 0xCBF29CE484222325
    for byte in forged:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    target.write_bytes(forged + value.to_bytes(8, "little"))
