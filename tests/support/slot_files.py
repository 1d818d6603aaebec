"""Saved slots that are not what they seem."""

from __future__ import annotations

from pathlib import Path


def forge(source: Path, target: Path) -> None:
    """A slot's file with numbers that are none, and a checksum that is right."""
    data = source.read_bytes()
    start = 40 + 4 * int.from_bytes(data[32:36], "little")
    target.write_bytes(_sealed(data[:start] + b"\xff\x7f" * ((len(data) - start - 8) // 2)))


def of_another_model(source: Path, target: Path) -> None:
    """A slot's file as a model of the same shape writes it: its fingerprint is another."""
    data = source.read_bytes()
    model = int.from_bytes(data[16:24], "little") ^ 1
    target.write_bytes(_sealed(data[:16] + model.to_bytes(8, "little") + data[24:-8]))


def _sealed(data: bytes) -> bytes:
    """The file with its checksum."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return data + value.to_bytes(8, "little")
