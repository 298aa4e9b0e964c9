"""Test-time augmentation: against the explicit average over the published views."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steepest.techniques.inference.tta import tta


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).eval().double()
    model(images())
    return model.requires_grad_(False)


def images(height=6, width=7):
    return torch.rand(4, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def shifted(x, down, right):
    """The window moved by (down, right) pixels, one row or column at a time; outside, the image is mirrored."""
    height, width = x.shape[2:]
    rows = [abs(i + down) if i + down < height else 2 * (height - 1) - i - down for i in range(height)]
    columns = [abs(j + right) if j + right < width else 2 * (width - 1) - j - right for j in range(width)]
    return x[:, :, rows][:, :, :, columns]


def test_mirror_is_the_mean_of_an_image_and_its_mirror():
    model, x = network(), images()
    torch.testing.assert_close(tta(model, x, views="mirror"), (model(x) + model(x.flip(-1))) / 2)


def test_mirror_translate_is_the_weighted_mean_of_the_six_published_views():
    model, x = network(), images()
    wanted = torch.zeros(4, 5, dtype=torch.float64)
    for weight, (down, right) in ((0.5, (0, 0)), (0.25, (-1, -1)), (0.25, (1, 1))):
        for view in (shifted(x, down, right), shifted(x, down, right).flip(-1)):
            wanted += weight / 2 * model(view)
    torch.testing.assert_close(tta(model, x, views="mirror_translate"), wanted)


@pytest.mark.parametrize("views", ["mirror", "mirror_translate"])
def test_only_the_unsure_are_seen_again(views):
    model, x = network(), images()
    once = model(x)
    sure = once.detach().softmax(1).amax(1)
    bound = float(sure.median()) + 1e-9
    wanted = torch.where((sure < bound)[:, None], tta(model, x, views=views), once)
    assert 0 < int((sure < bound).sum()) < len(x)
    torch.testing.assert_close(tta(model, x, views=views, unsure=bound), wanted)
    for row in range(len(x)):
        alone = tta(model, x[row : row + 1], views=views, unsure=bound)
        torch.testing.assert_close(alone, wanted[row : row + 1])


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated:DeprecationWarning")
def test_a_traced_network_gives_the_same_answers_for_other_images():
    model, x = network(), images()
    bound = float(model(x).detach().softmax(1).amax(1).median()) + 1e-9
    traced = torch.jit.trace(lambda x: tta(model, x, unsure=bound), (x,), check_trace=False)
    other = images().flip(0, 2)
    torch.testing.assert_close(traced(other), tta(model, other, unsure=bound))


def test_none_is_the_model_itself():
    model, x = network(), images()
    assert torch.equal(tta(model, x, views="none"), model(x))


@pytest.mark.parametrize("views", ["mirror", "mirror_translate"])
def test_a_mirrored_image_gets_the_same_answer(views):
    model, x = network(), images()
    model(x)
    if views == "mirror":
        torch.testing.assert_close(tta(model, x.flip(-1), views=views), tta(model, x, views=views))
    else:
        flat = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
        torch.testing.assert_close(tta(model, flat, views=views), model(flat))


@pytest.mark.parametrize(("views", "runs"), [("none", 1), ("mirror", 2), ("mirror_translate", 6)])
def test_the_model_runs_as_often_as_the_card_says_on_images_of_the_same_shape(views, runs):
    seen = []

    def model(x):
        seen.append(x.shape)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    x = images(2, 2)
    assert tta(model, x, views=views).shape == (4, 3)  # type: ignore[arg-type]
    assert seen == [x.shape] * runs
