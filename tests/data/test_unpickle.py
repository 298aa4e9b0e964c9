from __future__ import annotations

import codecs
import os
import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steepest.data import unpickle
from steepest.mistake import Mistake

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN, st.integers(2, 5))
def test_plain_containers_come_back_as_they_were(value, protocol):
    assert unpickle.loads(pickle.dumps(value, protocol), "x") == value


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(kind) for kind in ("u1", "i8", "f4", "?", ">i4")]),
        hnp.array_shapes(max_dims=3, max_side=4),
    ),
    st.integers(0, 5),
    st.booleans(),
)
def test_arrays_come_back_as_they_were_in_every_protocol_and_order(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    back = unpickle.loads(pickle.dumps({"data": array}, protocol), "x")["data"]
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_a_python_two_pickle_of_a_cifar_batch_is_read():
    # As Python 2 and NumPy 1 wrote it, protocol 2: byte strings, numpy.core.multiarray, raw data as a byte string.
    raw = bytes(range(6))
    data = (
        b"\x80\x02}(U\x06labels]K\x03K\x01eU\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x06" + raw + b"tbu."
    ).replace(b"U\x06labels]K\x03K\x01e", b"U\x06labels](K\x03K\x01e")
    back = unpickle.loads(data, "x")
    assert back[b"labels"] == [3, 1]
    assert back[b"data"].tolist() == [[0, 1, 2], [3, 4, 5]]


class _Runs:
    """Pickles as a call of `function` on `args`."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


def _touch(path):
    return f"touch {path}"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("how", ["system", "eval", "exec", "getattr", "import", "partial", "open", "nested"])
def test_a_malicious_pickle_is_refused_with_a_sentence_and_does_not_run(tmp_path, how, protocol):
    mark = tmp_path / "ran"
    touch = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    evil = {
        "system": _Runs(os.system, _touch(mark)),
        "eval": _Runs(eval, touch),
        "exec": _Runs(exec, touch),
        "getattr": _Runs(getattr, _Runs(__import__, "os"), "system"),
        "import": _Runs(__import__, "os"),
        "partial": _Runs(partial, os.system, _touch(mark)),
        "open": _Runs(open, str(mark), "w"),
        "nested": {"labels": [1, {"deep": (_Runs(os.system, _touch(mark)),)}]},
    }[how]
    with pytest.raises(Mistake, match=r"data_batch_1 is refused, nothing in it was executed: it asks for \w+\."):
        unpickle.loads(pickle.dumps(evil, protocol), "data_batch_1")
    assert not mark.exists()


def test_tricks_through_the_allowed_names_are_refused(tmp_path):
    reconstruct, dtype = b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n"
    tricks = {
        "a dtype of objects": dtype + b"(S'O'\nK\x00K\x01tR.",
        "a dtype of records": dtype + b"(]((S'a'\nS'O'\ntaK\x00K\x01tR.",
        "an array without data": reconstruct + b"(cnumpy\nndarray\n(K\x00tS'b'\ntR.",
        "an array with a list for data": reconstruct + b"(tR(K\x01(K\x01t" + dtype + b"(S'u1'\ntR\x89]tb.",
        "a huge shape": reconstruct
        + b"(tR(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"
        + dtype
        + b"(S'u1'\ntR\x89S'a'\ntb.",
        "a negative shape": reconstruct + b"(tR(K\x01(J\xff\xff\xff\xfft" + dtype + b"(S'u1'\ntR\x89S'a'\ntb.",
        "ndarray called directly": b"cnumpy\nndarray\n(K\x05tR.",
        "a bare dtype": dtype + b"(S'u1'\ntR.",
        "a bare callable": dtype + b".",
        "state set on a callable": dtype + b"}S'__call__'\nK\x01sb.",
        "slot state set on a callable": dtype + b"(N}S'_build'\nK\x01stb.",
        "an attribute path": b"\x80\x04\x8c\x05numpy\x8c\x0cdtype.__init__\x93.",
        "a codec other than latin1": b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        "a persistent id": b"Pabc\n.",
        "an extension code": b"\x82\x01.",
        "instance of a class": b"(S'true'\nios\nsystem\n.",
        "nothing": b"",
        "a cut-off pickle": pickle.dumps([1, 2, 3])[:-2],
        "no pickle": b"P\x00\x01 this is text",
    }
    for what, data in tricks.items():
        with pytest.raises(Mistake, match="is refused, nothing in it was executed"):
            pytest.fail(f"{what} was read as {unpickle.loads(data, 'batch')!r}")


def test_nothing_outlives_a_pickle_that_meddles_with_builders():
    before = pickle.dumps(np.arange(3), 2)
    for trick in (b"cnumpy\ndtype\n}S'text'\nK\x01sb.", b"cnumpy.core.multiarray\n_reconstruct\n(N}S'fill'\nNstb."):
        with pytest.raises(Mistake):
            unpickle.loads(trick, "x")
    assert unpickle.loads(before, "x").tolist() == [0, 1, 2]


def test_object_arrays_are_refused():
    with pytest.raises(Mistake, match="not numbers"):
        unpickle.loads(pickle.dumps(np.array([{"a": 1}], object)), "x")


def test_the_real_pickle_module_would_have_run_it(tmp_path):
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(_Runs(os.system, _touch(mark))))
    assert mark.exists()
    assert codecs.encode("a", "latin1") == b"a"
