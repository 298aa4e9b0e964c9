"""Reads pickles of plain containers and NumPy arrays, and executes nothing that is in them.

The only names a pickle may call are those that NumPy's own arrays need, and each is answered by an inert builder of
this file, never by the real thing. Everything else is refused.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from steepest.data.dataset import Array
from steepest.mistake import Mistake

_NUMBERS = "biuf"


class _Inert:
    """Base of what a pickle may hold: a pickle can neither set state nor attributes where a class doesn't say so."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it sets the state of something that has none")


class _Call(_Inert):
    """A callable a pickle gets in place of a global; made anew for each pickle, so that nothing outlives it."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *args: object) -> object:
        return self._build(*args)


class _Dtype(_Inert):
    __slots__ = ("order", "text")

    def __init__(self, text: object, *rest: object) -> None:
        text = text.decode("ascii") if isinstance(text, bytes) else text
        if not isinstance(text, str) or len(text) > 8 or text[:1] not in (*_NUMBERS, "<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it holds an array of type {text!r}, which is not numbers")
        self.text = text
        self.order = "="

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("it holds an array type with an unknown byte order")
        self.order = str(order)

    def real(self) -> np.dtype[Any]:
        dtype = np.dtype(self.text)
        if dtype.kind not in _NUMBERS or dtype.subdtype is not None:
            raise pickle.UnpicklingError(f"it holds an array of type {self.text!r}, which is not numbers")
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array(_Inert):
    __slots__ = ("value",)

    def __init__(self, *args: object) -> None:
        self.value: Array | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("it holds an array in an unknown form")
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran is True else "C")

    def fill(self, data: object, dtype: object, shape: object, order: object) -> None:
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("it holds an array of something else than numbers")
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise pickle.UnpicklingError("it holds an array without a shape")
        self.value = np.frombuffer(data, dtype.real()).reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.fill(data, dtype, shape, order)
    return array


def _encode(text: object, encoding: object = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("it encodes something else than latin1 text")
    return text.encode("latin1")


def _empty(*args: object) -> bytes:
    if args:
        raise pickle.UnpicklingError("it makes bytes out of something")
    return b""


def _nothing(*args: object) -> NoReturn:
    raise pickle.UnpicklingError("it makes an array in an unknown form")


_BUILDERS: dict[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty,
    ("builtins", "bytes"): _empty,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _nothing,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        build = _BUILDERS.get((module, name))
        if build is None:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is neither an array nor a plain container"
            )
        return _Call(build)

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")


def loads(data: bytes, where: str) -> Any:
    """The plain containers and NumPy arrays in a pickle; text of Python 2 comes as bytes.

    Raises `Mistake` naming `where` for anything else, having executed nothing.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(data), encoding="bytes").load(), 0)
    except Exception as error:
        raise Mistake(f"{where} is refused, nothing in it was executed: {error or type(error).__name__}") from error


def _plain(value: object, depth: int) -> Any:
    if depth > 8:
        raise pickle.UnpicklingError("its containers are nested too deeply")
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("it holds an array without data")
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, depth + 1) for item in value)
    if value is None or isinstance(value, bool | int | float | str | bytes | bytearray):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__.strip('_')} on its own")
