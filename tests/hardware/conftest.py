"""The card's twin for tests: one process a worker, a new card in it for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hardware.simulated.twin import Twin
from tests.hardware.card_on_twin import CardOnTwin, opened, stepped_twin


@pytest.fixture(scope="session")
def stepped_process() -> Twin:
    return stepped_twin()


@pytest.fixture
def twin(stepped_process: Twin) -> Twin:
    """A twin whose time only moves when it is told to."""
    stepped_process.bench.reset()
    return stepped_process


@pytest.fixture
def rig(twin: Twin) -> Iterator[CardOnTwin]:
    """The card's devices on it, opened."""
    with opened(CardOnTwin(twin)) as rig:
        yield rig


@pytest.fixture(scope="session")
def live_process() -> Iterator[Twin]:
    with Twin(drift_ppm=-30.0) as twin:
        yield twin


@pytest.fixture
def live(live_process: Twin) -> Iterator[CardOnTwin]:
    """The card's devices on a twin that runs by itself, opened, with their threads."""
    live_process.bench.reset()
    with opened(CardOnTwin(live_process, live=True)) as rig:
        yield rig
