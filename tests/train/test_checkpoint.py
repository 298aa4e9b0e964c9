"""Checkpoints: what is saved is what is loaded, bit for bit; anything else is refused with one sentence."""

from __future__ import annotations

import json
import math
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from steepest.mistake import Mistake
from steepest.train import checkpoint

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
shapes = st.lists(st.integers(0, 3), max_size=4)
tensors = st.builds(
    lambda shape, dtype, seed: (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 50).to(dtype),
    shapes,
    dtypes,
    st.integers(0, 99),
)
keys = st.integers() | st.text(st.characters(codec="utf-8"))
states = st.recursive(
    plain | tensors, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(states)
def test_what_is_saved_is_loaded(tmp_path, state):
    checkpoint.save(tmp_path / "c", state)
    assert same(state, checkpoint.load(tmp_path / "c"))


def test_keys_that_look_like_a_path_do_not_meet(tmp_path):
    state = {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1), 0: torch.full((1,), 2.0), "0": torch.full((1,), 3.0)}
    checkpoint.save(tmp_path / "c", state)
    assert same(state, checkpoint.load(tmp_path / "c"))


def test_numbers_that_are_none_and_tuples_are_kept(tmp_path):
    checkpoint.save(tmp_path / "c", {"lr": math.inf, "betas": (0.9, 0.999), "nan": math.nan})
    loaded = checkpoint.load(tmp_path / "c")
    assert loaded["lr"] == math.inf and loaded["betas"] == [0.9, 0.999] and math.isnan(loaded["nan"])


def test_bits_are_kept_even_of_nan_and_minus_zero(tmp_path):
    value = torch.tensor([math.nan, -0.0, math.inf, 1e-45])
    checkpoint.save(tmp_path / "c", value)
    assert torch.equal(checkpoint.load(tmp_path / "c").view(torch.int32), value.view(torch.int32))


def test_channels_last_and_shared_memory_come_back(tmp_path):
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    row = torch.arange(6.0)
    checkpoint.save(tmp_path / "c", {"weight": weight, "one": row[:3], "two": row[2:], "again": row})
    loaded = checkpoint.load(tmp_path / "c")
    assert loaded["weight"].is_contiguous(memory_format=torch.channels_last)
    assert same([weight, row[:3], row[2:], row], list(loaded.values()))


def test_what_a_checkpoint_cannot_hold_is_an_error_and_the_old_one_stays(tmp_path):
    checkpoint.save(tmp_path / "c", {"step": 1})
    with pytest.raises(TypeError, match=r"a checkpoint cannot hold set at a\.0"):
        checkpoint.save(tmp_path / "c", {"a": [{1}]})
    assert checkpoint.load(tmp_path / "c") == {"step": 1}


def test_an_optimiser_goes_on_from_its_loaded_state(tmp_path):
    def made():
        parameter = torch.nn.Parameter(torch.ones(3))
        return parameter, torch.optim.Adam([parameter], lr=0.1)

    def steps(pair, count):
        parameter, optimizer = pair
        for _ in range(count):
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()

    straight, stopped, resumed = made(), made(), made()
    steps(straight, 6)
    steps(stopped, 3)
    checkpoint.save(tmp_path / "c", [stopped[0], stopped[1].state_dict()])
    value, state = checkpoint.load(tmp_path / "c")
    resumed[0].data.copy_(value)
    resumed[1].load_state_dict(state)
    steps(resumed, 3)
    assert torch.equal(straight[0], resumed[0])


def refused(path):
    with pytest.raises(Mistake) as caught:
        checkpoint.load(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "c"
    checkpoint.save(path, {"step": 3, "model": {"weight": torch.arange(12.0).view(3, 4)}})
    return path.read_bytes()


def test_every_truncation_is_refused(tmp_path, written):
    for length in range(len(written)):
        (tmp_path / "c").write_bytes(written[:length])
        assert "damaged" in refused(tmp_path / "c")


def test_more_bytes_are_refused(tmp_path, written):
    (tmp_path / "c").write_bytes(written + b"\0")
    assert "damaged" in refused(tmp_path / "c")


def test_every_flipped_bit_is_refused_or_means_the_same(tmp_path, written):
    state = {"step": 3, "model": {"weight": torch.arange(12.0).view(3, 4)}}
    harmless = 0
    for place in range(len(written)):
        flipped = bytearray(written)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "c").write_bytes(flipped)
        try:
            loaded = checkpoint.load(tmp_path / "c")
        except Mistake as error:
            assert len(str(error).splitlines()) == 1
        else:
            harmless += 1
            assert same(state, loaded)
    assert harmless < 20  # spaces that pad the header


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\0" * 64, b"PK\3\4" + b"\0" * 60, b"\xff" * 64, b"\x80\x02cos\nsystem\n."]
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    assert "damaged" in refused(tmp_path / "c")


def test_a_pickle_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    torch.save({"step": Trap()}, tmp_path / "c")
    refused(tmp_path / "c")
    assert not (tmp_path / "ran").exists()


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "c")
    assert "was not written by this version of steepest" in refused(tmp_path / "c")
    save_file({"weight": torch.zeros(2)}, tmp_path / "c", metadata={"format": checkpoint.FORMAT})
    assert "SHA-256 does not match" in refused(tmp_path / "c")


def test_a_changed_header_is_refused(tmp_path, written):
    size = struct.unpack("<Q", written[:8])[0]
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"]["state"] = header["__metadata__"]["state"].replace("3", "4", 1)
    text = json.dumps(header).encode()
    (tmp_path / "c").write_bytes(struct.pack("<Q", len(text)) + text + written[8 + size :])
    assert "SHA-256 does not match" in refused(tmp_path / "c")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "none")
    assert refused(tmp_path)


def test_a_full_disk_is_told_and_the_old_checkpoint_is_intact(small_disk):
    path = small_disk(256) / "c"
    checkpoint.save(path, {"weight": torch.ones(1000)})
    for numbers in (100_000, 64_500):
        with pytest.raises(Mistake, match=r"cannot write .*No space left"):
            checkpoint.save(path, {"weight": torch.zeros(numbers)})
    assert same(checkpoint.load(path), {"weight": torch.ones(1000)})
    assert [each.name for each in path.parent.iterdir()] == ["c"]
