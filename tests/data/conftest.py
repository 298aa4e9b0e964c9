"""Every test of the data room has its own user cache and sees no data of the machine unless it asks for them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("STEEPEST_DATA", raising=False)
    monkeypatch.delenv("STEEPEST_MIRROR", raising=False)
    return tmp_path / "cache" / "steepest"
