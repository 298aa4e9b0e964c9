"""Trained runs that many tests read; a test that writes into one takes a copy."""

from __future__ import annotations

import pytest


def trained(folder, data, **options):
    from steepest.train.start import train

    return train(data, epochs=1, threads=1, out=str(folder), **options)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """One epoch of the digits: enough to be far from chance, and to make mistakes."""
    return trained(tmp_path_factory.mktemp("runs"), "digits")


@pytest.fixture(scope="session")
def circles_run(tmp_path_factory):
    """Points of two classes."""
    return trained(tmp_path_factory.mktemp("runs"), "circles")


@pytest.fixture(scope="session")
def plane_run(tmp_path_factory):
    """Points and a value: a regression."""
    return trained(tmp_path_factory.mktemp("runs"), "reg_plane")
