from __future__ import annotations

import pytest

from steepest import recipes
from steepest.experiments.changes import Held, changes, measurable
from steepest.experiments.conduct import prepare
from steepest.experiments.settings import apply
from steepest.mistake import Mistake
from steepest.recipe import Recipe, Use

QUICK = recipes.load("quick")


def asked(tmp_path, data="digits", recipe=QUICK, **options):
    return prepare("ablate", data, recipe, 3, {"out": str(tmp_path)} | options)[0]


def test_everything_that_a_recipe_has_is_left_out_one_at_a_time():
    found = changes(QUICK, (), (), pairs=False)
    assert [change.name for change in found] == [
        *(use.name for use in QUICK.use),
        "momentum",
        "weight_decay",
        "schedule",
    ]
    assert found[0].settings == {"pad_crop": False} and found[0].kind == "left_out"
    assert found[-1].settings == {"schedule": "constant"} and found[-2].settings == {"weight_decay": 0.0}


def test_what_is_off_already_is_not_left_out():
    lab = recipes.load("lab").add(Use("flip"))
    assert [change.name for change in changes(lab, (), (), pairs=False)] == ["flip"]


def test_a_schedule_answers_to_its_own_name():
    (found,) = changes(QUICK, ["triangular"], (), pairs=False)
    assert found.settings == {"schedule": "constant"}


def test_momentum_is_the_field_that_is_left_out_and_the_optimiser_that_is_added():
    (found,) = changes(QUICK.replace(optimizer="momentum"), ["momentum"], (), pairs=False)
    assert found.settings == {"momentum": 0.0}
    (found,) = changes(QUICK, (), ["momentum:form=outside"], pairs=False)
    tried = apply(QUICK, found.settings)
    assert (tried.optimizer, tried.momentum) == (Use("momentum", form="outside"), QUICK.momentum)


def test_what_is_added_brings_its_settings():
    found = changes(QUICK, (), ["cutout", "mixup:alpha=0.2", Use("cosine")], pairs=False)
    assert [change.settings for change in found] == [{"cutout": True}, {"mixup.alpha": 0.2}, {"schedule": "cosine"}]
    assert all(change.kind == "added" for change in found) and found[1].name == "mixup:alpha=0.2"


def test_both_can_be_asked_for():
    found = changes(QUICK, ["pad_crop"], ["cutout"], pairs=False)
    assert [(change.kind, change.name) for change in found] == [("left_out", "pad_crop"), ("added", "cutout")]


def test_pairs_are_every_two_of_a_kind():
    found = changes(QUICK, ["pad_crop", "momentum", "tta"], ["cutout"], pairs=True)
    assert [change.name for change in found[4:]] == ["pad_crop + momentum", "pad_crop + tta", "momentum + tta"]
    assert found[4].settings == {"pad_crop": False, "momentum": 0.0} and found[4].parts == (found[0], found[1])


@pytest.mark.parametrize(
    ("without", "add", "pairs", "sentence"),
    [
        (["pad_crpo"], (), False, "pad_crop"),
        (["cutout"], (), False, "unknown technique of the recipe"),
        (["muon"], (), False, "needs an optimizer"),
        ((), ["adam", "momentum"], True, "needs two techniques"),
        (["pad_crop", "pad_crop"], (), False, "named twice"),
        (["triangular", "schedule"], (), False, "named twice"),
        ((), ["pad_crop"], False, "on already"),
        ((), ["muon"], False, "on already"),
        ((), ["triangular:peak=0.5"], False, "on already"),
        ((), ["cutuot"], False, "cutout"),
        ((), ["cutout:size=-3"], False, "size"),
        ((), ["cross_entropy"], False, "Only one loss"),
        ((), ["cutout", "cutout"], False, "named twice"),
        ((), ["cutout:size=2", "cutout:size=3"], True, "needs two techniques"),
        (["pad_crop"], ["cutout"], True, "needs two techniques"),
    ],
)
def test_what_cannot_be_changed_is_refused(without, add, pairs, sentence):
    with pytest.raises(Mistake, match=sentence):
        changes(QUICK, without, add, pairs)


def test_a_recipe_with_nothing_to_leave_out_says_so():
    with pytest.raises(Mistake, match="nothing to leave out"):
        changes(Recipe(), (), (), pairs=False)


def test_what_the_data_leave_out_anyway_is_not_measured(tmp_path):
    study = asked(tmp_path)
    _, kept, idle = measurable(study, changes(study.recipe, (), (), pairs=False))
    names = [change.name for change in kept]
    layers = ["whitening_init", "half_convolution"]
    assert names == ["pad_crop", *layers, "label_smoothing", "momentum", "weight_decay", "schedule"]
    why = "a mirrored image of digits is another sign"
    assert idle == [{"left_out": name, "why": why} for name in ("alternating_flip", "tta")]


def test_a_pair_of_which_one_is_idle_is_not_measured(tmp_path):
    study = asked(tmp_path)
    _, kept, idle = measurable(study, changes(study.recipe, ["pad_crop", "tta", "momentum"], (), pairs=True))
    assert [change.name for change in kept] == ["pad_crop", "momentum", "pad_crop + momentum"]
    assert [one["left_out"] for one in idle] == ["tta"]


def test_what_does_not_suit_the_data_cannot_be_added(tmp_path):
    study = asked(tmp_path, recipe=QUICK.drop("alternating_flip"))
    with pytest.raises(Mistake, match="flip cannot be used here: a mirrored image of digits"):
        measurable(study, changes(study.recipe, (), ["flip"], pairs=False))


def test_an_ablation_of_nothing_but_idle_techniques_says_so(tmp_path):
    study = asked(tmp_path)
    with pytest.raises(Mistake, match="nothing of it can be measured on digits: a mirrored image"):
        measurable(study, changes(study.recipe, ["tta", "alternating_flip"], (), pairs=False))


def test_images_held_out_are_each_seeds_own_or_the_same_for_all(tmp_path):
    study = asked(tmp_path)
    held, _, _ = measurable(study, changes(study.recipe, (), (), pairs=False))
    assert not held.fixed and held.of == 1438 and held.each == pytest.approx(144, abs=5)
    assert held.seen(1) == held.each and held.seen(2) < 2 * held.each and held.seen(1000) == held.of
    assert Held(100, 100, True).seen(50) == 100
