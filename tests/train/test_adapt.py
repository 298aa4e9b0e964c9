"""A recipe is fitted to the data: with a note for what is changed, and a refusal where the person had chosen it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from steepest import data as data_room
from steepest import models
from steepest.data.dataset import Dataset, Split, stratified
from steepest.mistake import Mistake
from steepest.recipe import Recipe, Use
from steepest.train.adapt import adapt
from steepest.train.request import Request, ask


def pictures(count=60, size=8, channels=3, classes=3, val=0, name="photos"):
    def split(n):
        return Split(np.zeros((n, size, size, channels), np.uint8), np.arange(n) % classes)

    names = tuple(f"class{k}" for k in range(classes))
    return Dataset(name, split(count), split(val) if val else None, split(6), names, "f")


def fitted(data, recipe="quick", **options):
    found, request = ask("digits", recipe, **options)
    return adapt(found, data, request)


def names(recipe):
    return [use.name for use in recipe.use]


def test_a_recipe_that_suits_is_left_as_it_is():
    recipe = ask("digits", "quick")[0]
    assert adapt(recipe, pictures(1000), Request()) == (recipe, [])


def test_mirrors_are_left_out_where_a_mirrored_image_is_another_sign():
    for name in ("digits", "mnist"):
        recipe, notes = fitted(pictures(1000, name=name))
        assert not {"flip", "alternating_flip", "tta"} & set(names(recipe))
        assert {"pad_crop", "whitening_init"} <= set(names(recipe))
        assert len(notes) == 1 and "alternating_flip, tta" in notes[0] and name in notes[0]


def test_a_mirror_by_default_is_a_mirror_and_no_views_are_none():
    data = pictures(name="digits")
    assert names(adapt(Recipe().replace(use=("tta",)), data, Request())[0]) == []
    assert names(adapt(Recipe().replace(use=("tta:views=none",)), data, Request())[0]) == ["tta"]


def test_a_mirror_that_was_chosen_is_refused_for_digits():
    with pytest.raises(Mistake, match="flip cannot be used here: a mirrored image of digits is another sign"):
        fitted(pictures(1000, name="digits"), drop=["alternating_flip"], use=["flip"])


@pytest.mark.parametrize("name", ["spiral", "reg_plane"])
def test_points_take_a_network_for_points(name):
    data = data_room.load(name)
    recipe, notes = fitted(data)
    assert recipe.model.name == "mlp" and recipe.resolution is None and recipe.micro_batch == 0
    assert not {"pad_crop", "whitening_init", "tta"} & set(names(recipe))
    assert ("label_smoothing" in names(recipe)) == (name == "spiral")
    assert len(notes) == (2 if name == "spiral" else 3)


def test_what_was_chosen_is_kept_for_points():
    data = data_room.load("spiral")
    recipe, _ = fitted(data, lr=0.5, batch_size=10, width=7, use=["sgd"])
    assert (recipe.lr, recipe.batch_size, recipe.width) == (0.5, 10, 7)
    assert fitted(data, model="mlp:hidden=9")[0].model == Use("mlp", hidden=9)


CHOSEN_WRONG = [
    ("spiral", {"model": "resnet9"}, "takes images, not points"),
    ("spiral", {"use": ["cutout"]}, "cutout cannot be used here: spiral holds points, not pictures"),
    ("spiral", {"resolution": 16}, "resolution 16 is for pictures, but spiral holds points"),
    ("reg_plane", {"target": 0.9}, "--target is a validation accuracy, but reg_plane is a regression set"),
    ("reg_plane", {"use": ["cross_entropy"], "drop": ["label_smoothing"]}, "reg_plane is a regression set"),
    ("reg_plane", {"use": ["early_stopping:figure=val_accuracy"]}, "reg_plane is a regression set"),
    ("spiral", {"use": ["early_stopping"], "val_fraction": 0}, "no images of spiral are held out"),
    ("spiral", {"target": 0.5, "sets": ["val_fraction=0"]}, "no images of spiral are held out"),
    ("spiral:n=20", {"batch_size": 64}, "batch_size 64 is larger than the data: spiral has 8 training images"),
]


@pytest.mark.parametrize(("name", "options", "said"), CHOSEN_WRONG)
def test_what_was_chosen_and_does_not_suit_is_refused(name, options, said):
    with pytest.raises(Mistake, match=said):
        fitted(data_room.load(name), **options)


def test_a_stopping_rule_of_a_recipe_is_left_out_where_its_figure_is_not_measured():
    recipe = Recipe().replace(use=("early_stopping",), val_fraction=0)
    adapted, notes = adapt(recipe, pictures(1000), Request())
    assert adapted.use == () and "early_stopping" in notes[0]
    assert adapt(recipe, pictures(1000, val=30), Request())[0].use == recipe.use
    kept = Recipe().replace(use=("early_stopping:figure=train_loss",), val_fraction=0)
    assert adapt(kept, pictures(1000), Request())[0].use == kept.use


@pytest.mark.parametrize(("count", "classes", "val"), [(6, 2, 0), (9, 3, 0), (60, 3, 0), (60, 3, 6), (100, 7, 0)])
def test_a_batch_is_at_most_the_images_that_are_really_trained_on(count, classes, val):
    data = pictures(count, classes=classes, val=val)
    recipe, notes = fitted(data)
    left = count if val else len(stratified(data.train.targets, recipe.val_fraction, 0)[0])
    assert recipe.batch_size == left
    assert notes == [
        f"photos has {left} training images: batch_size {ask('digits', 'quick')[0].batch_size} became {left}"
    ]
    assert fitted(data, batch_size=left)[0].batch_size == left
    with pytest.raises(Mistake, match=f"batch_size {left + 1} is larger than the data: photos has {left} training"):
        fitted(data, batch_size=left + 1)


def test_images_too_small_for_the_network_are_refused_unless_enlarged():
    with pytest.raises(Mistake, match="too small for resnet9"):
        fitted(pictures(1000, size=4), model="resnet9", drop=["whitening_init"])
    recipe, _ = fitted(pictures(1000, size=4), model="resnet9", resolution=32, drop=["whitening_init"])
    assert recipe.resolution == 32


def test_whitening_is_left_out_of_a_network_that_has_no_layer_for_it():
    recipe, notes = fitted(pictures(1000), model="lab_cnn")
    assert "whitening_init" not in names(recipe)
    assert "left out whitening_init" in notes[0]


@pytest.mark.parametrize("name", models.NAMES)
def test_half_precision_is_left_out_of_the_networks_without_a_convolution_that_has_it(name):
    with torch.device("meta"):
        network = models.build(name, classes=3, shape=(3, 32, 32))
    has = any(isinstance(one, nn.Conv2d) and one.kernel_size == (3, 3) for one in network.modules())
    recipe, notes = fitted(pictures(1000, size=32), model=name)
    assert ("half_convolution" in names(recipe)) == has
    assert has or f"left out half_convolution: {name} has no 3×3 convolution" in notes
