"""What the techniques of the data family turn: what is kept, how much is worked at once, the order, the packed file."""

import itertools
import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.data.batches import KEEP, Batches, _gathered, statistics
from steepest.data.dataset import Split
from steepest.data.records import Records
from steepest.mistake import Failure, Mistake

PLENTY, SCARCE = 1 << 30, 20_000
PLACES = pytest.mark.parametrize("memory", [PLENTY, SCARCE], ids=["in_memory", "streamed"])


def numbered(count=500, size=8, channels=3):
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return Split(images, np.arange(count))


def made(split=None, **changes):
    split = numbered() if split is None else split
    plain: dict[str, Any] = {"statistics": (np.full(3, 0.4), np.full(3, 0.2)), "batch_size": 32, "seed": 1}
    return Batches(split, np.arange(len(split)), **(plain | changes))


def jitter(images, targets, *, progress, generator):
    noise = torch.randint(0, 256, images.shape, generator=generator, dtype=torch.uint8)
    return images + noise, targets


def same(left, right):
    pairs = list(itertools.zip_longest(left, right))
    return bool(pairs) and all(a and b and torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


# what is kept


class Counted:
    """Images that count how often they are read."""

    def __init__(self, images):
        self.images, self.reads = images, 0
        self.shape, self.dtype = images.shape, images.dtype

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        self.reads += 1
        return self.images[key]


@pytest.mark.parametrize("resolution", [None, 4, 12])
@pytest.mark.parametrize("batch_size", [32, 7, 1000])
def test_what_is_kept_does_not_alter_a_single_bit(resolution, batch_size):
    split = numbered(100)
    kinds = [made(split, keep=keep, resolution=resolution, batch_size=batch_size) for keep in KEEP]
    for other in kinds[1:]:
        assert same(kinds[0].epoch(2), other.epoch(2))
        for start in range(kinds[0].steps):
            assert same(kinds[0].epoch(0, start), other.epoch(0, start))
    layouts = {next(iter(batches.epoch(0)))[0].stride() for batches in kinds}
    assert len(layouts) == 1


@pytest.mark.parametrize("keep", KEEP)
def test_points_are_kept_alike(keep):
    points = np.random.default_rng(0).normal(3, 2, (100, 2)).astype(np.float32)
    split = Split(points, np.arange(100))
    figures = statistics(split, np.arange(100))
    plain, other = (Batches(split, np.arange(100), figures, batch_size=8, keep=how) for how in ("images", keep))
    assert same(plain.epoch(0), other.epoch(0))


def test_making_and_replacing_reads_no_image_and_an_epoch_reads_once_what_is_kept():
    images = Counted(numbered(100).images)
    batches = made(Split(images, np.arange(100)), resolution=4)
    changed = replace(batches, batch_size=10, seed=5)
    assert images.reads == 0 and changed.steps == 10
    list(changed.epoch(0))
    once = images.reads
    list(changed.epoch(1))
    assert images.reads == once > 0
    list(batches.epoch(0))
    assert images.reads > once, "the one it was made from keeps its own"
    lazy = replace(changed, keep="nothing")
    list(lazy.epoch(0))
    before = images.reads
    list(lazy.epoch(0))
    assert images.reads > before


def test_kept_batches_are_fresh_memory():
    batches = made(keep="normalised")
    for images, _ in batches.epoch(0):
        images.zero_()
    assert all(images.abs().sum() > 0 for images, _ in batches.epoch(0))


@pytest.mark.parametrize(
    ("given_settings", "told"),
    [
        ({"keep": "all"}, "keep must be one of nothing, images, normalised"),
        ({"keep": "normalised", "pixels": [jitter]}, "changes the pixels"),
        ({"keep": "normalised", "memory": 200_000}, "cannot be kept as floats in a memory of 200,000"),
        ({"whole": True, "memory": SCARCE}, "cannot be augmented at once in a memory of 20,000"),
    ],
)
def test_what_cannot_be_kept_or_worked_at_once_is_refused(given_settings, told):
    with pytest.raises(Mistake, match=told):
        made(**given_settings)


# how much is worked at once


def test_whole_epochs_are_augmented_in_one_call_and_may_be_begun_anywhere():
    asked = []

    def counted(images, targets, *, progress, generator):
        asked.append((len(images), progress))
        return jitter(images, targets, progress=progress, generator=generator)

    batches = made(pixels=[counted], whole=True)
    full = list(batches.epoch(3, 0, lambda step: step / 100))
    assert asked == [(480, 0.0)]
    assert same(full[7:], batches.epoch(3, 7, lambda step: step / 100))
    assert not same(full, batches.epoch(4))
    assert made(split=numbered(0), whole=True, shuffle=False).steps == 0


# the order


def easiest(epoch, progress, index, count, random):
    """An order for tests: of the first rows only, as many as progress says, each as often as is needed."""
    few = max(1, round(progress * len(index)))
    return np.concatenate([random.permutation(few) for _ in range(-(-count // few))])[:count]


@PLACES
@pytest.mark.parametrize("progress", [0.1, 0.3, 1.0])
def test_an_order_says_which_images_make_an_epoch_and_its_steps_stay(memory, progress):
    batches = made(memory=memory, order=easiest)
    seen = list(batches.epoch(4, 0, progress))
    assert len(seen) == batches.steps == made().steps and batches.streamed is (memory == SCARCE)
    rows = torch.cat([targets for _, targets in seen])
    counts = torch.bincount(rows, minlength=500)
    few = round(progress * 500)
    assert counts[few:].sum() == 0 and counts[:few].max() - counts[:few].min() <= 1
    pixels = torch.cat([images for images, _ in seen]) * 0.2 + 0.4
    wanted = torch.from_numpy(batches.split.images[rows.numpy()]).permute(0, 3, 1, 2)
    assert torch.equal((pixels * 255).round().byte(), wanted)


@PLACES
@pytest.mark.parametrize("start", [0, 1, 7, 14])
def test_an_order_takes_the_progress_of_the_epochs_first_step_wherever_it_is_begun(memory, start):
    batches = made(memory=memory, order=easiest, pixels=[jitter])
    whole = list(batches.epoch(2, 0, lambda step: 0.2 + step / 100))
    assert same(whole[start:], batches.epoch(2, start, lambda step: 0.2 + step / 100))


@pytest.mark.parametrize(("share", "steps"), [(1.0, 15), (0.5, 7), (0.1, 1), (0.001, 1)])
def test_an_epoch_may_be_a_share_of_the_images(share, steps):
    batches = made(share=share)
    assert batches.steps == steps == len(list(batches.epoch(0)))
    assert sum(len(targets) for _, targets in batches.epoch(3)) == steps * batches.batch_size


def test_an_order_of_all_is_the_plain_one_and_evaluation_has_none():
    def every(epoch, progress, index, count, random):
        return random.permutation(len(index))[:count]

    assert same(made().epoch(1), made(order=every).epoch(1))
    assert same(made(shuffle=False).epoch(0), made(shuffle=False, order=easiest).epoch(0))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_streamed_chunks_are_those_that_sorting_row_by_row_gives(share):
    def own(epoch, progress, index, count, random):
        return np.arange(len(index))

    index = np.flatnonzero(np.arange(len(numbered())) % 3)
    streamed = replace(made(memory=SCARCE, share=share), index=index[: len(index) // 32 * 32])
    plain, sorted_by_row = (replace(streamed, order=order) for order in (None, own))
    assert plain.streamed and plain.chunk < 100
    assert plain.places(3).tolist() == sorted_by_row.places(3).tolist()


@given(rows=st.lists(st.integers(0, 99), min_size=1, max_size=60), chunk=st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_rows_are_gathered_in_their_order_however_often_they_come(rows, chunk):
    images = np.arange(100)[:, None]
    assert _gathered(images, np.array(rows), chunk)[:, 0].tolist() == rows


# the packed file


def test_packed_batches_are_the_same_samples_from_a_file_without_a_name(own_cache):
    split = numbered()
    plain = made(split)
    packed = plain.packed(SCARCE)
    assert packed.streamed and isinstance(packed.split.images, Records)
    assert list((own_cache / "packed").iterdir()) == []
    seen = {int(row): image for images, rows in packed.epoch(0) for image, row in zip(images, rows, strict=True)}
    assert len(seen) == 480
    shown = {int(row): image for images, rows in plain.epoch(0) for image, row in zip(images, rows, strict=True)}
    assert all(torch.equal(seen[row], shown[row]) for row in seen.keys() & shown.keys())
    assert same(plain.epoch(1), plain.packed(PLENTY).epoch(1)), "with room for all, the order is that of memory"


def test_what_is_in_a_record_file_already_is_not_packed_again(tmp_path):
    packed = made().packed(SCARCE, tmp_path)
    again = packed.packed(PLENTY, tmp_path / "missing")
    assert again.split.images is packed.split.images and not again.streamed
    assert not (tmp_path / "missing").exists()


def test_the_space_is_free_again_when_the_batches_are_gone(tmp_path):
    packed = made().packed(SCARCE, tmp_path)
    handle = packed.split.images._handle
    assert os.fstat(handle).st_nlink == 0
    del packed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_drafts_of_killed_processes_are_swept_and_those_being_written_stay(tmp_path):
    (tmp_path / ".a.part").touch()
    (tmp_path / ".b.part").touch()
    hour = time.time() - 3601
    os.utime(tmp_path / ".a.part", (hour, hour))
    made().packed(SCARCE, tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == [".b.part"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Mistake, match="no record file can be written into"):
        made().packed(SCARCE, tmp_path / "file")


def test_a_full_disk_leaves_nothing(small_disk):
    folder = small_disk(64)
    with pytest.raises(Failure, match="disk is full"):
        made(numbered(3000)).packed(SCARCE, folder)
    assert list(folder.iterdir()) == []


def test_statistics_can_be_measured_anew_from_the_rows_of_now():
    split = numbered()
    batches = replace(made(split), index=np.arange(7, 200, 3))
    for mine, wanted in zip(batches.measured(), statistics(split, np.arange(7, 200, 3)), strict=True):
        np.testing.assert_array_equal(mine, wanted)
