"""The page of a study: the best setting with its interval, failures counted, comparisons and steps as told."""

from __future__ import annotations

import math

import pytest

from steepest import report, stats
from steepest.mistake import Mistake
from steepest.report import page as pages
from steepest.report import study_page


def test_the_headline_is_the_best_setting_with_its_interval_over_seeds(study, read):
    values = {0.01: [0.91, 0.93, 0.92], 0.1: [0.95, 0.94, 0.96], 1.0: [0.2, 0.3, 0.1]}
    page = read(
        report.write(study("sweep", [({"lr": lr}, seed, v[seed]) for lr, v in values.items() for seed in range(3)]))
    )
    best = stats.mean(values[0.1])
    assert page.headline == "95.00 %"
    assert page.saying(f"95 % interval {100 * best.low:.2f} – {100 * best.high:.2f} %, n = 3 seeds")
    assert page.saying("lr = 0.1, the best of 3 settings")
    table = page.tables[0]
    assert [row[0] for row in table[1:]] == ["0.1", "0.01", "1"] and table[1][1] == "3"


def test_a_setting_of_one_lucky_seed_does_not_head_the_page(study, read):
    trials = [({"lr": 0.1}, 0, 0.9), ({"lr": 0.1}, 1, 0.91), ({"lr": 0.2}, 0, 0.99)]
    assert read(report.write(study("sweep", trials))).headline == "90.50 %"


def test_one_seed_has_no_interval_and_one_setting_no_best(study, read):
    page = read(report.write(study("sweep", [({"lr": 0.1}, 0, 0.9)])))
    assert page.saying("no interval, n = 1 seed") and not page.saying("the best of")
    assert "sweep" not in page.charts


def test_intervals_of_accuracies_end_at_one(study, read):
    page = read(report.write(study("sweep", [({"lr": 0.1}, 0, 0.9), ({"lr": 0.1}, 1, 0.99)])))
    assert page.saying("– 100.00 %, n = 2 seeds")


def test_failed_and_unfinished_trials_are_counted_and_shown(study, read):
    trials = [({"lr": 0.1}, 0, 0.9), ({"lr": 0.1}, 1, "the loss <b>became</b> nan"), ({"lr": 0.2}, 0, None)]
    page = read(report.write(study("sweep", trials)))
    assert page.saying("1 of 3 trials failed") and page.saying("1 trials have not ended")
    assert page.facts["trials"] == "3 1 done, 1 failed, 1 running"
    shown = page.tables[-1]
    assert shown[1][3] == "failed: the loss <b>became</b> nan" and [row[3] for row in shown[2:]] == ["done", "running"]


def test_a_study_in_which_nothing_has_ended_has_a_page(study, read):
    page = read(report.write(study("sweep", [({"lr": 0.1}, 0, None)])))
    assert page.headline == "–" and page.saying("no trial has finished, n = 0")
    assert read(report.write(study("sweep", []))).saying("No trial has begun.")


def test_an_ablation_is_headed_by_the_whole_recipe_and_names_its_barnacles(ablation, read):
    page = read(report.write(ablation))
    assert page.headline == "92.00 %" and page.saying("Barnacles, which could go: tta.")
    assert page.saying("Bought: val_accuracy with the technique minus without it. ")
    assert page.saying("The validation set is small.")
    for side, half in (("bought", 0.3), ("seconds", 0.2)):
        (drawn,) = page.charts[f"forest-{side}"]["data"]
        names = page.charts[f"forest-{side}"]["layout"]["yaxis"]["ticktext"]
        assert names == ["whitening_init", "label_smoothing", "tta"]
        assert drawn["error_x"]["array"] == pytest.approx([half] * 3)
        assert drawn["marker"]["symbol"] == ["circle", "circle", "circle-open"]
    told = ["whitening_init", "5", "+2.10", "+1.80 to +2.40", "0.001", "−0.4", "−0.6 to −0.2", "helps"]
    assert page.tables[0][1] == told


def test_an_ablation_without_a_result_is_shown_as_a_list(study, read):
    page = read(report.write(study("ablate", [({}, 0, 0.9), ({"tta": False}, 0, 0.8), ({"cutout": True}, 0, 0.7)])))
    assert page.charts["sweep"]["layout"]["yaxis"]["ticktext"] == ["the recipe as it is", "without tta", "with cutout"]
    assert not [name for name in page.charts if name.startswith("forest")]


def test_a_search_tells_what_each_step_bought_and_the_winners_test_accuracy(every_kind, read):
    page = read(report.write(every_kind["steps"]))
    assert page.charts["steps"]["data"][0]["y"] == [0.901, 0.91, 1.0]
    assert page.tables[0][1:] == [
        ["1", "lr = 0.001", "1", "90.10 %", "+0.10 points"],
        ["2", "lr = 0.01", "1", "91.00 %", "+1.00 points"],
        ["3", "lr = 0.1", "1", "100.00 %", "+10.00 points"],
    ]
    assert page.facts["test accuracy"] == "80.00 % 95 % interval 70.00 – 90.00 %, n = 1 seed"
    assert page.saying("The best of 3 settings.")


def test_a_winner_that_was_confirmed_is_headed_by_what_it_reached_with_fresh_seeds(study, read):
    trials = [({"lr": lr}, seed, 0.8 + lr) for lr in (0.05, 0.1) for seed in (0, 1)]
    trials += [({"lr": 0.1}, 10_000 + seed, 0.85 + seed / 100) for seed in range(3)]
    page = read(report.write(study("tune", trials, seeds=(0, 1))))
    assert page.headline == "86.00 %" and page.saying("n = 3 fresh seeds") and not page.saying("partly luck")
    head, best, other = page.tables[0]
    place = head.index("with fresh seeds")
    assert (best[1], best[place].replace("\N{NO-BREAK SPACE}", " ")) == ("2", "86.00 %, n = 3")
    assert (other[1], other[place]) == ("2", "–")
    ends = [line["y"][-1] for line in page.charts["accuracy"]["data"]]
    assert any(end == pytest.approx(0.9 * (1 - math.exp(-10 / 3))) for end in ends), "the curves of what chose it"


def test_a_range_test_is_headed_by_the_rate_that_it_recommends(every_kind, read):
    page = read(report.write(every_kind["range"]))
    assert page.headline == "0.05" and page.saying("range tests between 0.01 and 0.2, n = 2 seeds")
    assert [line["y"] for line in page.charts["range-test"]["data"]] == [[2.3, 1.0, 3.0], [2.3, 2.0, 3.0]]
    assert page.charts["range-test"]["layout"]["shapes"][0]["x0"] == 0.05


def test_curves_are_the_mean_over_seeds_with_its_interval(study, read):
    values = [0.8, 0.9, 0.85]
    page = read(report.write(study("sweep", [({"lr": 0.1}, seed, value) for seed, value in enumerate(values)])))
    band, validation, training = page.charts["accuracy"]["data"]
    for place in range(10):
        found = stats.mean([value * (1 - math.exp(-(place + 1) / 3)) for value in values])
        assert validation["y"][place] == pytest.approx(found.mean)
        assert band["y"][place] == pytest.approx(min(1.0, found.high or 2.0)) and band["y"][
            -1 - place
        ] == pytest.approx(found.low)
        assert training["y"][place] == pytest.approx(1 - math.exp(-(place + 1) / 3))
    assert band["x"] == [*validation["x"], *validation["x"][::-1]]


def test_it_tells_recipe_data_machine_seeds_and_what_was_varied(ablation, study, digits_run, read):
    page = read(report.write(ablation))
    assert digits_run.read("data.json")["fingerprint"] in page.facts["data fingerprint"]
    assert digits_run.read("environment.json")["processor"] in page.facts["machine"]
    assert 'name = "quick"' in "".join(page.text["pre"])
    swept = study("sweep", [({"lr": 0.1}, 4, 0.9)], vary={"grid": {"lr": [0.1, 0.2]}, "list": []}, seeds=(4, 5))
    page = read(report.write(swept))
    assert page.facts["varied: lr"] == "0.1, 0.2" and page.facts["seeds"] == "4, 5" and "varied: list" not in page.facts


def test_a_large_study_is_cut_to_what_can_be_read_and_says_so(study, read, monkeypatch):
    monkeypatch.setattr(pages, "MOST_ROWS", 5)
    trials = [({"lr": place / 99}, 0, 0.5 + place / 99) for place in range(1, 9)]
    page = read(report.write(study("sweep", [*trials, ({"lr": 9.0}, 0, "it failed")])))
    settings, every = page.tables
    assert len(settings) == len(every) == 6
    assert page.saying("5 of 9 are shown here") and every[1][3] == "failed: it failed"
    assert len([one for one in page.charts["accuracy"]["data"] if one["showlegend"]]) == study_page.CURVES


def test_hostile_settings_stay_text(study, read):
    name = "<img src=x onerror=alert(1)>"
    result = {
        "comparisons": [{"left_out": name, "difference": 1.0}, {"added": None}, 3],
        "steps": [{"settings": {"a": name}}],
    }
    page = read(report.write(study("sweep", [({"optimizer": name}, 0, 0.9), ({"optimizer": "sgd"}, 0, 0.8)], result)))
    assert [tag for tag, _ in page.elements].count("img") == 0
    assert page.tables[-2][1][0] == name and page.saying(f"optimizer = {name}")
    assert all("<img" not in str(chart) for chart in page.charts.values())


def test_damaged_studies_are_a_sentence(study):
    path = study("sweep", [({"lr": 0.1}, 0, 0.9)])
    (path / "result.json").write_text("[]")
    with pytest.raises(Mistake, match=r"result\.json is damaged"):
        report.write(path)
    (path / "study.json").write_text('{"kind": "sweep"}')
    with pytest.raises(Mistake, match=r"study\.json is damaged: it has no name"):
        report.write(path)
