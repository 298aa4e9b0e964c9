"""Charts as files beside their page, or one sentence about what is missing; the page is there in any case."""

from __future__ import annotations

import shutil
import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from steepest import report
from steepest.mistake import Mistake
from steepest.report import pictures

CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.skipif(not CHROME, reason="no Chromium on this machine")
def test_each_chart_is_written_as_png_and_svg(study, tmp_path):
    place = report.write(study("sweep", [({"lr": lr}, 0, 1 - lr) for lr in (0.1, 0.2)]), tmp_path / "a.html", png=True)
    names = {f"a-{name}.{form}" for name in ("accuracy", "loss", "sweep") for form in ("png", "svg")}
    assert {path.name for path in tmp_path.glob("a-*.*")} == names
    with Image.open(place.with_name("a-sweep.png")) as image:
        assert image.width == 2 * pictures.WIDTH and len(image.convert("RGB").getcolors(1 << 20) or ()) > 20
    root = ElementTree.parse(place.with_name("a-sweep.svg")).getroot()
    assert root.tag.endswith("svg") and "Validation accuracy by lr" in "".join(root.itertext())


def test_without_kaleido_it_is_said_how_to_get_it(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    path = study("sweep", [({"lr": 0.1}, 0, 0.9)])
    with pytest.raises(Mistake, match=r"is written, but pictures need Kaleido: pip install 'steepest\[report\]'"):
        report.write(path, png=True)
    assert (path / "report.html").is_file()


def test_without_a_browser_it_is_one_sentence(study, monkeypatch):
    monkeypatch.setattr("choreographer.browsers.chromium.Chromium.find_browser", lambda **given: None)
    path = study("sweep", [({"lr": 0.1}, 0, 0.9)])
    with pytest.raises(
        Mistake, match=r"report\.html is written, but pictures need Chrome or Chromium, which is not on"
    ):
        report.write(path, png=True)
    assert (path / "report.html").is_file()
