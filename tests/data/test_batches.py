"""The batches: a pure function of (seed, epoch, block), in memory or streamed, equal to image by image."""

import itertools
import os
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.data import cifar
from steepest.data.batches import Batches, statistics
from steepest.data.dataset import Split
from steepest.mistake import Mistake

REAL = os.environ.get("STEEPEST_DATA")
PLENTY = 1 << 30
SCARCE = 40_000  # bytes: sets of a thousand images of 8×8×3 are streamed in several windows
PLACES = pytest.mark.parametrize("memory", [PLENTY, SCARCE], ids=["in_memory", "streamed"])


def numbered(count=1000, size=8, channels=3):
    """Random images whose targets are their row numbers."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return Split(images, np.arange(count))


def every(split):
    return np.arange(len(split))


def made(split=None, index=None, **changes):
    split = numbered() if split is None else split
    index = every(split) if index is None else index
    channels = split.images.shape[-1]
    plain: dict[str, Any] = {"statistics": (np.zeros(channels), np.ones(channels)), "batch_size": 32, "seed": 1}
    return Batches(split, index, **(plain | changes))


def rows(batches, epoch=0, start=0):
    return torch.cat([targets for _, targets in batches.epoch(epoch, start)]).tolist()


def jitter(images, targets, *, progress, generator):
    """A pixel augmentation with one bulk draw: adds noise to every pixel, wrapping round."""
    noise = torch.randint(0, 256, images.shape, generator=generator, dtype=torch.uint8)
    return images + noise, targets


def same(left, right):
    pairs = list(itertools.zip_longest(left, right))
    return bool(pairs) and all(a and b and torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


# the order


@PLACES
def test_the_same_seed_and_epoch_give_the_same_batches(memory):
    first, second = (made(pixels=[jitter], memory=memory) for _ in range(2))
    assert first.streamed is (memory == SCARCE)
    list(second.epoch(0))
    assert same(first.epoch(3), second.epoch(3))


@PLACES
def test_another_epoch_or_seed_gives_another_order(memory):
    orders = [rows(made(seed=seed, memory=memory), epoch) for seed, epoch in [(1, 0), (1, 1), (2, 0), (2, 1)]]
    for left, right in itertools.combinations(orders, 2):
        assert left[:32] != right[:32]


@PLACES
def test_another_epoch_or_block_gets_other_random_choices(memory):
    split = Split(np.zeros((1000, 8, 8, 3), np.uint8), np.arange(1000))
    batches = made(split, pixels=[jitter], memory=memory, batch_size=8)
    batches.block, batches.window = 10, 10
    seen = [images for epoch in range(2) for images, _ in batches.epoch(epoch)]
    assert not any(torch.equal(left, right) for left, right in itertools.combinations(seen, 2))


@PLACES
def test_every_image_comes_at_most_once_an_epoch_and_other_ones_are_dropped(memory):
    batches = made(memory=memory)
    dropped = [set(range(1000)) - set(rows(batches, epoch)) for epoch in range(5)]
    assert all(len(rows(batches, epoch)) == len(set(rows(batches, epoch))) for epoch in range(5))
    assert [len(left) for left in dropped] == [1000 % 32] * 5
    assert len(set(map(frozenset, dropped))) == 5


@PLACES
@pytest.mark.parametrize("start", [0, 1, 9, 17, 30, 31, 50])
def test_starting_at_a_step_gives_the_rest_of_the_epoch(memory, start):
    batches = made(pixels=[jitter], memory=memory)
    batches.block, batches.window = 3, 6
    whole = list(batches.epoch(2))
    rest = list(batches.epoch(2, start))
    assert len(rest) == max(0, len(whole) - start)
    assert start >= len(whole) or same(rest, whole[start:])


def test_the_order_in_memory_is_uniform_over_places():
    batches = made(numbered(4), batch_size=4)
    orders = [tuple(rows(batches, epoch)) for epoch in range(2400)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24 and counts.min() > 60 and counts.max() < 150


def test_streaming_mixes_many_chunks_from_all_over_the_file_into_one_batch():
    batches = made(memory=96_000)
    batches.chunk = 8
    first = next(iter(batches.epoch(0)))[1].numpy()
    assert batches.window == 3 and len(np.unique(first // 8)) > 8
    assert np.ptp(first) > 500


# the same as the slow way


@PLACES
def test_batches_equal_the_images_prepared_one_by_one(memory):
    split, mean, std = numbered(), np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    for images, targets in made(split, statistics=(mean, std), memory=memory).epoch(0):
        for image, row in zip(images, targets, strict=True):
            lazy = (split.images[row].astype(np.float64) / 255 - mean) / std
            np.testing.assert_allclose(image.numpy(), lazy.transpose(2, 0, 1), rtol=0, atol=2e-6)


@PLACES
@given(count=st.integers(1, 300), batch_size=st.integers(1, 64), kept=st.integers(1, 5), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_each_row_of_the_index_comes_exactly_once_up_to_the_dropped_remainder(memory, count, batch_size, kept, seed):
    split = numbered(count, size=4)
    index = np.sort(np.random.default_rng(seed).permutation(count)[: -(-count // kept)])
    batches = made(split, index, batch_size=batch_size, seed=seed, memory=memory // 40)
    seen = list(batches.epoch(seed))
    flat = [int(row) for _, targets in seen for row in targets]
    whole = len(index) if len(index) < batch_size else len(index) // batch_size * batch_size
    assert len(flat) == len(set(flat)) == whole
    assert set(flat) <= set(index.tolist())
    assert len(seen) == batches.steps
    for images, targets in seen:
        assert torch.equal(
            (images * 255).round().byte(), torch.from_numpy(split.images[targets.numpy()]).permute(0, 3, 1, 2)
        )


@PLACES
def test_evaluation_keeps_the_order_and_drops_nothing(memory):
    index = every(numbered())[3::2]
    batches = made(index=index, shuffle=False, memory=memory)
    assert rows(batches) == index.tolist()
    assert batches.steps == len(list(batches.epoch(0))) == -(-len(index) // 32)


def test_evaluation_of_nothing_gives_no_batch():
    batches = made(index=np.zeros(0, np.int64), shuffle=False)
    assert batches.steps == 0 and list(batches.epoch(0)) == []


@pytest.mark.parametrize("memory", [PLENTY, 100], ids=["in_memory", "streamed"])
def test_fewer_images_than_a_batch_come_all_in_one(memory):
    batches = made(numbered(5), memory=memory)
    assert batches.steps == 1
    assert sorted(rows(batches)) == [0, 1, 2, 3, 4]


def test_a_memory_mapped_file_gives_the_same_as_the_array(tmp_path):
    split = numbered()
    split.images.tofile(tmp_path / "images")
    mapped = np.memmap(tmp_path / "images", np.uint8, "r", shape=split.images.shape)
    for memory in (PLENTY, SCARCE):
        assert same(made(split, memory=memory).epoch(0), made(Split(mapped, split.targets), memory=memory).epoch(0))


# layout and fresh memory


@pytest.mark.parametrize("channels", [1, 3])
@PLACES
def test_images_are_float32_in_channels_last(channels, memory):
    images, targets = next(iter(made(numbered(channels=channels), memory=memory // channels).epoch(0)))
    assert images.shape == (32, channels, 8, 8) and images.dtype == torch.float32 and targets.dtype == torch.int64
    assert images.stride() == (64 * channels, 1, 8 * channels, channels)
    filters = torch.ones(4, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    assert torch.nn.functional.conv2d(images, filters).is_contiguous(memory_format=torch.channels_last)


def test_images_are_in_channels_last_whatever_the_augmentation_left():
    def restride(images, targets, *, progress, generator):
        return images.contiguous(memory_format=torch.contiguous_format), targets

    assert same(made(pixels=[restride]).epoch(0), made().epoch(0))
    images, _ = next(iter(made(pixels=[restride]).epoch(0)))
    assert images.is_contiguous(memory_format=torch.channels_last)


@PLACES
def test_a_batch_is_not_touched_by_the_next_ones_nor_touches_the_data(memory):
    batches = made(memory=memory)
    kept, copies = [], []
    for images, targets in batches.epoch(0):
        kept.append((images, targets))
        copies.append((images.clone(), targets.clone()))
    assert same(kept, copies)
    for images, _ in kept:
        images.zero_()
    assert same(batches.epoch(0), copies)


# augmentations


def test_augmentations_get_whole_blocks_so_that_their_draws_do_not_grow_with_the_images():
    def calls(count):
        sizes = []

        def counting(images, targets, *, progress, generator):
            sizes.append(len(images))
            return images, targets

        assert len(list(made(numbered(count), pixels=[counting], batch_size=10).epoch(0))) == count // 10
        return sizes

    assert calls(1000) == [1000]
    assert calls(2000) == [2000]


def test_augmentations_get_uint8_blocks_and_what_they_ask_for():
    seen = []

    def asking(images, targets, *, progress, generator, index, epoch, strength):
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 8, 8)
        seen.append((index.tolist(), epoch, progress, strength))
        return images, targets

    index = every(numbered())[::2]
    batches = made(index=index, pixels=[partial(asking, strength=2)])
    batches.block = 5
    order = rows(batches, epoch=4)
    list(batches.epoch(4, progress=lambda step: step / 100))
    assert [row for block, *_ in seen[:3] for row in block] == order
    assert [rest for _, *rest in seen] == [[4, 0.0, 2]] * 3 + [[4, 0.0, 2], [4, 0.05, 2], [4, 0.1, 2]]


def test_augmentations_follow_each_other_and_may_change_targets_and_size():
    def halve(images, targets, *, progress, generator):
        return images[:, :, ::2, ::2], targets + 1

    split = numbered()
    images, targets = next(iter(made(split, pixels=[halve, halve], shuffle=False).epoch(0)))
    assert images.shape == (32, 3, 2, 2) and targets.tolist() == list(range(2, 34))
    assert torch.equal((images * 255).round().byte(), torch.from_numpy(split.images[:32, ::4, ::4]).permute(0, 3, 1, 2))


def test_augmentations_may_change_the_size_from_epoch_to_epoch():
    def shrink(images, targets, *, progress, generator, epoch):
        return images[:, :, epoch:, epoch:], targets

    split = Split(np.full((32, 8, 8, 3), [51, 102, 255], np.uint8), np.arange(32))
    batches = made(split, pixels=[shrink])
    for epoch in (0, 3, 1):
        images, _ = next(iter(batches.epoch(epoch)))
        wanted = torch.tensor([0.2, 0.4, 1]).view(1, 3, 1, 1).expand(32, 3, 8 - epoch, 8 - epoch)
        torch.testing.assert_close(images, wanted)


def test_the_global_random_state_is_neither_read_nor_changed():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = list(made(pixels=[jitter]).epoch(0))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    assert same(first, made(pixels=[jitter]).epoch(0))


# resolution


@PLACES
@pytest.mark.parametrize("resolution", [4, 8, 12])
def test_another_resolution_is_the_antialiased_picture_of_that_size(memory, resolution):
    split = numbered()
    batches = made(split, resolution=resolution, shuffle=False, memory=memory)
    images = torch.cat([images for images, _ in batches.epoch(0)])
    planes = torch.from_numpy(split.images).permute(0, 3, 1, 2).double()
    wanted = torch.nn.functional.interpolate(planes, (resolution, resolution), mode="bilinear", antialias=True)
    assert images.shape == wanted.shape
    assert (images * 255 - wanted).abs().max() <= 1.01
    assert images[:32].is_contiguous(memory_format=torch.channels_last)


def test_a_set_that_fits_at_the_lower_resolution_is_kept_in_memory():
    assert made(memory=16_000 * 3).streamed
    assert not made(memory=16_000 * 3, resolution=4).streamed


def test_oblong_images_become_square():
    oblong = Split(np.zeros((10, 6, 9, 3), np.uint8), np.arange(10))
    assert next(iter(made(oblong, resolution=6).epoch(0)))[0].shape == (10, 3, 6, 6)
    assert next(iter(made(oblong).epoch(0)))[0].shape == (10, 3, 6, 9)


# points


@pytest.mark.parametrize("memory", [PLENTY, 1000], ids=["in_memory", "streamed"])
def test_points_are_standardised_and_keep_their_targets(memory):
    random = np.random.default_rng(0)
    points = random.normal([5, -2], [3, 0.1], (200, 2)).astype(np.float32)
    split = Split(points, points[:, 0].copy())
    figures = statistics(split, every(split))
    batches = Batches(split, every(split), figures, batch_size=50, memory=memory)
    seen, targets = map(torch.cat, zip(*batches.epoch(0), strict=True))
    assert seen.dtype == targets.dtype == torch.float32 and seen.shape == (200, 2)
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(0, correction=0), 1, atol=1e-5)
    np.testing.assert_allclose(seen[:, 0], (targets - figures[0][0]) / figures[1][0], atol=1e-5)


@pytest.mark.parametrize("given", [{"pixels": [jitter]}, {"resolution": 8}])
def test_augmentations_and_resolution_are_refused_for_points(given):
    split = Split(np.zeros((5, 2), np.float32), np.zeros(5, np.int64))
    with pytest.raises(Mistake, match="points"):
        made(split, **given)


# bounded memory, failing reads


class Watched:
    """Images that are made when read, a set far bigger than the memory; keeps what was asked for."""

    def __init__(self, count):
        self.shape, self.dtype, self.asked = (count, 32, 32, 3), np.dtype(np.uint8), []

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        assert isinstance(key, slice), "a streamed set is read in runs"
        rows = np.arange(key.start, key.stop)
        self.asked.append((key.start, key.stop))
        return np.broadcast_to(rows.astype(np.uint8)[:, None, None, None], (len(rows), 32, 32, 3)).copy()


def test_streaming_stays_within_the_memory_and_reads_every_image_once():
    memory, images = 8_000_000, Watched(30_000)
    split = Split(images, np.arange(30_000))
    batches = made(split, memory=memory, batch_size=64)
    tracemalloc.start()
    right = []
    for pixels, targets in batches.epoch(0):
        right.append(torch.equal((pixels[:, 0, 0, 0] * 255).round().long(), targets % 256))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(right) == 30_000 // 64 and all(right)
    assert peak < memory < np.prod(images.shape) / 10
    assert sum(high - low for low, high in images.asked) < 1.02 * len(images)


def test_a_resumed_epoch_reads_only_what_is_left():
    images = Watched(20_000)
    batches = made(Split(images, np.arange(20_000)), memory=2_000_000)
    list(batches.epoch(0, batches.steps - 5))
    assert sum(high - low for low, high in images.asked) <= 2 * batches.window * 32


def test_a_read_that_fails_is_told_and_an_epoch_may_be_left_early():
    class Broken(Watched):
        def __getitem__(self, key):
            if key.stop > 15_000:
                raise OSError("broken")
            return super().__getitem__(key)

    batches = made(Split(Broken(20_000), np.arange(20_000)), memory=2_000_000)
    with pytest.raises(OSError, match="broken"):
        list(batches.epoch(0))
    whole = made(Split(Watched(20_000), np.arange(20_000)), memory=2_000_000).epoch(0)
    next(whole)
    whole.close()


# statistics


@given(st.integers(1, 700), st.integers(1, 4), st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_statistics_are_those_of_the_training_rows_in_float64(count, every_nth, channels):
    split = numbered(count, size=5, channels=channels)
    index = every(split)[::every_nth]
    values = split.images[index].astype(np.float64) / 255
    mean, std = statistics(split, index)
    np.testing.assert_allclose(mean, values.mean((0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(std, values.std((0, 1, 2)), rtol=1e-12)


def test_the_training_images_come_with_mean_zero_and_deviation_one():
    split = numbered()
    index = every(split)[:-40]
    batches = made(split, index, statistics=statistics(split, index), batch_size=len(index))
    images, _ = next(iter(batches.epoch(0)))
    np.testing.assert_allclose(images.double().mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(images.double().std((0, 2, 3), correction=0), 1, atol=1e-6)


def test_bright_images_lose_nothing_to_rounding():
    images = np.full((3000, 32, 32, 1), 255, np.uint8)
    images[0, 0, 0, 0] = 254
    pixels = images.size
    mean, std = statistics(Split(images, np.zeros(3000)), np.arange(3000))
    assert mean[0] == pytest.approx((255 * pixels - 1) / pixels / 255, rel=1e-15)
    assert std[0] == pytest.approx(np.sqrt(pixels - 1) / pixels / 255, rel=1e-12)


def test_a_constant_channel_divides_by_one_step_of_grey():
    images = np.full((10, 4, 4, 3), 7, np.uint8)
    images[:5, ..., 0] = 9
    mean, std = statistics(Split(images, np.zeros(10)), np.arange(10))
    np.testing.assert_allclose(mean * 255, [8, 7, 7])
    np.testing.assert_allclose(std * 255, [1, 1, 1])
    _, std = statistics(Split(np.ones((4, 2), np.float32), np.zeros(4)), np.arange(4))
    assert std.tolist() == [1, 1]


@pytest.mark.skipif(REAL is None, reason="needs $STEEPEST_DATA")
def test_cifar10_has_its_known_constants():
    place = Path(REAL or "")
    if cifar.find(cifar.CIFAR10, place) is None:
        pytest.skip("no CIFAR-10 in $STEEPEST_DATA")
    train = cifar.load(cifar.CIFAR10, place).train
    mean, std = statistics(train, every(train))
    assert mean.round(4).tolist() == [0.4914, 0.4822, 0.4465]
    assert std.round(4).tolist() == [0.2470, 0.2435, 0.2616]
