"""A page is one file that holds everything, in which text stays text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as some

from steepest.report import page as pages
from steepest.report.charts import Chart
from steepest.report.page import Cell, Page, Picture, Section, Table, Tile

TEXT = some.text(some.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


def page_with(text):
    chart = Chart("one", text, text, [{"type": "scatter", "name": text, "x": [text], "y": [1]}], {"height": 300})
    table = Table(text, (text, "n"), [[Cell(text), Cell(text, 3.0)]], text)
    section = Section(text, text, [chart], [Picture("", text, text)], [table], [(text, text)], [(text, text)])
    tile = Tile(text, text, text)
    return Page(text, text, tile, text, [tile], [text], [section])


@settings(max_examples=30, deadline=None)
@given(text=TEXT)
def test_any_text_stays_text(reader, text):
    found, plain = (reader(pages.render(page_with(each))) for each in (text, "plain"))
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in plain.elements]
    assert found.charts["one"]["data"][0]["x"] == [text]
    assert found.text["h1"] == [text] and found.tables[0][1] == [text, text] and found.text["pre"] == [text]


def test_only_the_pages_own_scripts_may_run_and_nothing_may_be_loaded():
    text = pages.render(page_with("x"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'sha256-")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    packed = re.search(r'id="plotly">(.*?)</script>', text, re.DOTALL)[1]
    library = gzip.decompress(base64.b64decode(packed))
    assert library.startswith(b"/**\n* plotly.js v")
    for code in (script.encode(), library):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(code).digest()).decode()}'" in policy
    assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", text.replace(packed, ""))


def test_a_page_is_the_same_when_it_is_made_again():
    assert pages.render(page_with("x")) == pages.render(page_with("x"))


def test_numbers_that_json_does_not_know_become_null():
    found = pages._json({"a": [float("nan"), float("inf"), 1.5, "</script>", None], 3: "&"})
    assert "<" not in found and "&" not in found
    assert json.loads(found) == {"a": [None, None, 1.5, "</script>", None], "3": "&"}


def test_what_the_page_is_made_of_is_in_the_package():
    names = {path.name for path in files("steepest.report").iterdir()}
    assert {"page.html", "page.css", "page.js"} <= names
