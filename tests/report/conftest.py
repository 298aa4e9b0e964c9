"""A reader of pages, and studies that are laid down, not trained."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from steepest import recipes
from steepest.experiments.study import Asked, Study
from steepest.report.mistakes import evaluated
from steepest.run import Run
from steepest.train.request import Request

VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """A page as a person reads it: headings, tables, facts, and everything by its element."""

    def __init__(self, text):
        super().__init__()
        self.text: dict[str, list[str]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.text[tag][-1] += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def charts(self):
        return json.loads(next(text for text in self.text["script"] if text.startswith("{")))

    @property
    def facts(self):
        pairs = zip(self.text["dt"], self.text["dd"], strict=True)
        return {name: " ".join(value.split()) for name, value in pairs}

    @property
    def headline(self):
        return self.text["strong"][0]

    def saying(self, words):
        return words in " ".join(self.text["main"][0].split())


@pytest.fixture(scope="session")
def reader():
    return Reader


@pytest.fixture(scope="session")
def read():
    return lambda path: Reader(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def evaluated_run(digits_run, tmp_path_factory):
    """The digits' run, with its mistakes found."""
    run = Run(shutil.copytree(digits_run.path, tmp_path_factory.mktemp("runs") / "evaluated"))
    evaluated(run)
    return run


@pytest.fixture
def run(evaluated_run, tmp_path):
    """A copy of it, to be changed."""
    return Run(shutil.copytree(evaluated_run.path, tmp_path / "a-run"))


def lay(out, kind, trials, result=None, machine=None, **asked):
    """A study of trials (settings, seed, validation accuracy; or the sentence of a failure; or None: running)."""
    request, recipe = Request(data="digits"), recipes.load("quick")
    study = Study.begin(Asked(kind, "a-study", recipe, request, **asked), out)
    for settings, seed, value in trials:
        trial = study.ledger.add(settings, seed)
        if isinstance(value, str):
            study.ledger.tell(replace(trial, state="failed", problem=value), None)
        elif value is not None:
            figures = {"val_accuracy": value, "val_loss": 2 * (1 - value), "train_s": 4.0 + seed, "total_s": 5.0 + seed}
            rise = [1 - math.exp(-epoch / 3) for epoch in range(1, 11)]
            curve = [
                {
                    "step": 9 * at,
                    "epoch": float(at),
                    "val_accuracy": value * up,
                    "train_accuracy": up,
                    "val_loss": 2 - up,
                }
                for at, up in enumerate(rise, 1)
            ]
            study.ledger.tell(replace(trial, state="done", figures=figures), value, curve)
    if result is not None:
        study.write("result.json", result)
    if machine is not None:
        shutil.copytree(machine.path, study.path / "runs" / study.trials()[0].folder)
    return study.path


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A function that lays a study under a new folder."""
    return lambda *given, **options: lay(tmp_path_factory.mktemp("studies"), *given, **options)


COMPARISONS = {
    "unit": "points",
    "notes": ["Bought: val_accuracy with the technique minus without it"],
    "warnings": ["the validation set is small"],
    "comparisons": [
        {
            "left_out": name,
            "n": 5,
            "difference": bought,
            "low": bought - 0.3,
            "high": bought + 0.3,
            "p_holm": 0.001 if bought > 0.3 else 1.0,
            "seconds": {"difference": cost, "low": cost - 0.2, "high": cost + 0.2},
            "barnacle": True if bought < 0.3 else None,
            "verdict": "barnacle" if bought < 0.3 else "helps",
        }
        for name, bought, cost in (("whitening_init", 2.1, -0.4), ("label_smoothing", 0.9, 0.1), ("tta", -0.02, 0.0))
    ],
}
RANGE = {
    "recommended": 0.05,
    "low": 0.01,
    "high": 0.2,
    "said": ["2 of 2 range tests suggest 0.05"],
    "curves": [{"seed": s, "rates": [1e-3, 1e-2, 0.1], "smoothed": [2.3, 1.0 + s, 3.0]} for s in (0, 1)],
}


@pytest.fixture(scope="session")
def ablation(study, digits_run):
    names = [None, "whitening_init", "tta", "label_smoothing"]
    trials = [
        ({name: False} if name else {}, seed, 0.9 + 0.01 * seed + 0.001 * place)
        for seed in range(5)
        for place, name in enumerate(names)
    ]
    return study("ablate", trials, COMPARISONS, digits_run)


@pytest.fixture(scope="session")
def every_kind(study, ablation):
    """A study for each form of chart, by its name."""
    rates = (0.001, 0.01, 0.1)
    three = [
        ({"lr": rate, "momentum": 0.1 * place, "optimizer": ("sgd", "adam")[place % 2]}, 0, 0.9 - 0.01 * place)
        for place, rate in enumerate(rates * 4)
    ]
    steps: dict[str, object] = {
        "steps": [{"settings": {"lr": rate}, "n": 1, "value": 0.9 + rate, "gain": rate} for rate in rates]
    }
    steps |= {"test_accuracy": {"n": 1, "mean": 0.8, "low": 0.7, "high": 0.9}, "said": ["the best of 3 settings"]}
    return {
        "ablation": ablation,
        "line": study(
            "sweep", [({"lr": r}, s, 0.9 - abs(math.log10(r) + 2) / 9 + s / 99) for r in rates for s in (0, 1)]
        ),
        "list": study("sweep", [({"optimizer": name}, 0, 0.9) for name in ("sgd", "adam", "muon")]),
        "map": study("sweep", [({"lr": r, "batch_size": b}, 0, 0.9 - b * r / 99) for r in rates for b in (32, 64)]),
        "dots": study("sweep", [({"lr": 0.1 + p / 99, "momentum": p * p / 99}, 0, 0.9 - p / 99) for p in range(9)]),
        "parallel": study("sweep", three),
        "steps": study("tune", [({"lr": rate}, 0, 0.9 + rate) for rate in rates], steps),
        "range": study("find-lr", [({"lr": rate}, 0, 0.9 - rate) for rate in rates], RANGE),
        "nothing yet": study("sweep", [({"lr": 0.1}, 0, None), ({"lr": 0.2}, 0, "the loss became nan")]),
    }
