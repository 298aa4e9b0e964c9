"""Every test of the data room has its own user cache and sees no data of the machine unless it asks for them."""

from __future__ import annotations

import struct
import zlib

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("STEEPEST_DATA", raising=False)
    monkeypatch.delenv("STEEPEST_MIRROR", raising=False)
    return tmp_path / "cache" / "steepest"


@pytest.fixture
def png_header():
    """Makes the bytes of a PNG file that says how large it is, and holds hardly any pixels."""

    def made(width, height):
        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")

    return made
