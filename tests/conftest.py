"""Settings for the whole suite: hypothesis draws the same examples on every run unless asked otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.display import VirtualDisplay, virtual_display
from tests.postgres import Cluster, cluster
from tests.rig.lab.labs import made_file
from tests.telling import FIGURE, Tell

_COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "print_blob": True,
    "phases": [phase for phase in Phase if phase is not Phase.explain],
}
settings.register_profile("quick", max_examples=30, derandomize=True, **_COMMON)
settings.register_profile("full", max_examples=400, derandomize=True, **_COMMON)
settings.register_profile("soak", max_examples=2000, derandomize=True, **_COMMON)
NO_PARAMETERS = SimpleNamespace(params={})
settings.load_profile(os.environ.get("RIG_HYPOTHESIS", "full"))


def _on_postgresql(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", NO_PARAMETERS).params.values()
    return any(isinstance(value, str) and value == "postgresql" for value in parameters)  # others may be arrays


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what opens windows or starts a PostgreSQL, so that it can be left out where that can't be had."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "display" in fixtures:
            item.add_marker(pytest.mark.window)
        if "server" in fixtures or _on_postgresql(item):
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualDisplay]:
    """A virtual display for this process, the same to its end: a program can't change displays."""
    with virtual_display(tmp_path_factory.mktemp("display")) as started:
        yield started


@pytest.fixture(scope="session")
def running_server() -> Iterator[Cluster]:
    """A PostgreSQL for this process."""
    with cluster() as started:
        yield started


@pytest.fixture
def server(running_server: Cluster) -> Cluster:
    """A PostgreSQL that runs, whatever the test before did to it."""
    if not running_server.runs:
        running_server.start()
    return running_server


@pytest.fixture(params=["sqlite", "postgresql"])
def lab_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A laboratory's database without any facts, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{made_file(tmp_path / 'laboratory.sqlite')}"
    server: Cluster = request.getfixturevalue("server")
    return server.laboratory()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite"
    server: Cluster = request.getfixturevalue("server")
    return server.new_database()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Tell a figure. What a worker of xdist prints is lost; what its reports carry is not."""
    return lambda words: record_property(FIGURE, words.strip("\n"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have told."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    told = [(report.nodeid, words) for report in reports for name, words in report.user_properties if name == FIGURE]
    if told:
        terminalreporter.section("figures")
    for nodeid, words in told:
        terminalreporter.write_line(f"{nodeid.partition('::')[2]}: {str(words).strip()}")
