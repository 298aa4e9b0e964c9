"""Pages in a real browser, without a network; skipped where no Chromium and driver are."""

from __future__ import annotations

import base64
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from steepest import report
from steepest.report import mistakes

CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
DRAWN = "path.js-line, path.point, .hm image, .hm path"
pytestmark = pytest.mark.skipif(not (CHROME and DRIVER), reason="no Chromium with its driver on this machine")


class Browser:
    """Chromium, offline, at a size and with a preference for light or dark."""

    def __init__(self):
        options = Options()
        options.binary_location = str(CHROME)
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        self.run = self.driver.execute_script
        speed = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **speed})

    def prefer(self, scheme):
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)

    def open(self, path, width=1280, height=900):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(path.resolve().as_uri())
        WebDriverWait(self.driver, 60).until(lambda _: self.run("return document.documentElement.dataset.drawn"))
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        assert not said

    def colours(self):
        """Of the page, and of a chart's line and text."""
        return self.run(
            "const style = (found, name) => getComputedStyle(document.querySelector(found))[name];"
            "return [style('body', 'backgroundColor'), style('.js-line', 'stroke'), style('.xtick text', 'fill')]"
        )


@pytest.fixture(scope="module")
def browser():
    made = Browser()
    yield made
    made.driver.quit()


@pytest.fixture(scope="module")
def pages(every_kind, evaluated_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    places = {"run": evaluated_run.path} | every_kind
    return [report.write(place, folder / f"{name}.html") for name, place in places.items()]


def test_every_page_opens_without_network_or_complaint_and_draws_its_charts(browser, pages):
    for page in pages:
        browser.open(page)
        assert browser.run("return performance.getEntriesByType('resource').length") == 0
        marks = f"return [...document.querySelectorAll('.plot')].map((p) => p.querySelectorAll('{DRAWN}').length)"
        assert all(browser.run(marks)), f"{page}: an empty chart"
        assert browser.run("return [...document.images].every((image) => image.naturalWidth > 0)")


def test_on_a_phone_nothing_moves_sideways(browser, pages):
    for page in pages:
        browser.open(page, 360, 740)
        assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360], page
        widths = "return [...document.querySelectorAll('.plot')].map((p) => p.querySelector('.main-svg').clientWidth)"
        assert all(width > 250 for width in browser.run(widths))


def test_page_and_charts_follow_light_and_dark_at_once(browser, run):
    run.append(
        {"step": 99, "epoch": 2.0, "train_loss": 0.1, "val_loss": 0.2, "train_accuracy": 0.9, "val_accuracy": 0.9}
    )
    page = report.write(run.path)

    def turned(before):
        """The colours, as soon as all of them are others."""
        differ = lambda _: all(a != b for a, b in zip(before, browser.colours(), strict=True))  # noqa: E731
        WebDriverWait(browser.driver, 20).until(differ)
        return browser.colours()

    browser.prefer("light")
    browser.open(page)
    light = browser.colours()
    assert light[0] == "rgb(255, 255, 255)"
    browser.prefer("dark")
    dark = turned(light)
    browser.open(page)
    assert browser.colours() == dark
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert turned(dark) == light  # paper is white
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert turned(light) == dark
    assert base64.b64decode(browser.driver.print_page()).startswith(b"%PDF")
    browser.prefer("light")


def test_tables_are_sorted_by_pointer_and_by_key(browser, study):
    trials = [({"lr": lr}, 0, value) for lr, value in ((0.1, 0.8), (0.02, 0.9), (10.0, 0.7))]
    browser.open(report.write(study("sweep", [*trials, ({"lr": 0.3}, 0, "it failed")])))
    table = browser.driver.find_element(By.CSS_SELECTOR, "table")

    def column(place):
        return [
            row.find_elements(By.TAG_NAME, "td")[place].text for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
        ]

    heads = table.find_elements(By.TAG_NAME, "th")
    buttons = [head.find_element(By.TAG_NAME, "button") for head in heads]
    assert column(0) == ["0.02", "0.1", "10", "0.3"]  # best first, the failed one last
    buttons[0].click()
    assert column(0) == ["0.02", "0.1", "0.3", "10"] and heads[0].get_attribute("aria-sort") == "ascending"
    buttons[0].send_keys(Keys.ENTER)
    assert column(0) == ["10", "0.3", "0.1", "0.02"] and heads[0].get_attribute("aria-sort") == "descending"
    accuracy = [head.text for head in heads].index("validation accuracy")
    for order in (["70.00 %", "80.00 %", "90.00 %", "–"], ["90.00 %", "80.00 %", "70.00 %", "–"]):
        buttons[accuracy].send_keys(Keys.SPACE)
        assert column(accuracy) == order  # what has no value stays last
    assert [head.get_attribute("aria-sort") for head in heads].count(None) == len(heads) - 1


def test_hostile_names_run_nothing_and_are_read_letter_by_letter(browser, study, run):
    name = "<img src=x onerror=window.hacked=1><script>window.hacked=2</script>"
    row = {"n": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    evaluated = {"n": 6, "confusion": [[1, 2], [3, 0]], "classes": [row | {"name": name}, row | {"name": "<b>x</b>"}]}
    run.write(mistakes.NAME, evaluated | {"split": "test", "mistakes": [{"true": name, "predicted": name}]})
    swept = study("sweep", [({"optimizer": name}, 0, 0.9), ({"optimizer": "<b>x</b>"}, 0, 0.8)])
    for page in (report.write(run.path), report.write(swept)):
        browser.open(page)
        assert browser.run("return window.hacked") is None
        texts = browser.run("return [...document.querySelectorAll('.plot svg text')].map((text) => text.textContent)")
        assert any("<b>x</b>" in text for text in texts) and any("<img src=x" in text for text in texts)
        assert browser.run("return document.querySelectorAll('img').length") == 0
