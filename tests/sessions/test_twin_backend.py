"""What stands between a session and its twin: the lease of the card's tasks, the thread that tells the mouse."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hardware.clock import HostClock
from hardware.events import CameraState
from hardware.protocols import DeviceError
from hardware.simulated.mice import MouseKind, Setting
from hardware.simulated.twin import Twin
from rig.config.rig import NidaqCardConfig
from rig.session.backends import MouseAtTwin, on_card
from tests.builders import rig_config

CONFIG = rig_config("twin")
MOUSE = MouseAtTwin(MouseKind.NEVER, 1, Setting())
SOON_S = 10.0


def wait(happened: Callable[[], object]) -> None:
    limit_s = time.monotonic() + SOON_S
    while not happened():
        assert time.monotonic() < limit_s, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def twin_card() -> NidaqCardConfig:
    assert isinstance(CONFIG.card, NidaqCardConfig)
    return CONFIG.card


def test_tasks_that_a_session_has_left_open_go_with_its_lease(twin_card: NidaqCardConfig) -> None:
    with Twin() as twin:
        with on_card(CONFIG, twin_card, clock=HostClock(), seed=1, sink=None, mouse=MOUSE, twin=twin) as backend:
            for device in backend.in_order:
                device.open()
            assert twin.bench.n_tasks() > 0
        wait(lambda: twin.bench.n_tasks() == 0)  # as after a crash: nothing was closed
        for device in backend.in_order:
            device.close()


def test_a_twin_that_is_gone_refuses_in_a_sentence(twin_card: NidaqCardConfig) -> None:
    with Twin() as twin:
        twin.kill()
        with (
            pytest.raises(
                DeviceError, match=r"^card: its twin does not do what it is asked for \(.*UNAVAILABLE.*\)\. S"
            ),
            on_card(CONFIG, twin_card, clock=HostClock(), seed=1, sink=None, mouse=MOUSE, twin=twin),
        ):
            pass


def test_a_mouse_that_is_told_no_more_is_named_once_and_the_spout_moves_on(twin_card: NidaqCardConfig) -> None:
    told: list[DeviceError] = []
    with Twin() as twin, on_card(
        CONFIG, twin_card, clock=HostClock(), seed=1, sink=None, mouse=MOUSE, twin=twin
    ) as backend:  # fmt: skip
        twin.kill()
        backend.see(0.0, "im065")

        def is_named() -> bool:
            try:
                backend.spout.poll()
            except DeviceError as error:
                told.append(error)
            return bool(told)

        wait(is_named)
        backend.spout.move(position="at_mouse")
        wait(lambda: [report.position for report in backend.spout.poll()] == ["at_mouse"])
    (error,) = told
    assert error.device == "mouse at the twin"
    assert error.what.startswith("the model mouse no longer learns what is shown (BenchError: see: ")


def test_a_twin_s_cameras_give_the_exposures_that_they_say(twin_card: NidaqCardConfig) -> None:
    with Twin() as twin, on_card(
        CONFIG, twin_card, clock=HostClock(), seed=1, sink=None, mouse=MOUSE, imaging=True, twin=twin
    ) as backend:  # fmt: skip
        cameras = backend.cameras
        assert cameras is not None
        states: list[CameraState] = []

        def heard(n: int) -> bool:
            states.extend(cameras.poll())
            return len(states) >= n

        cameras.start(session_id="s")
        wait(lambda: heard(1))
        time.sleep(0.5)
        cameras.stop()
        wait(lambda: heard(2))
        time.sleep(0.05)
        lines = ("port0/line8", "port0/line9")
        counted = [sum(level for _, level in twin.bench.scope(line)) for line in lines]
    assert [state.recording for state in states] == [True, False]
    assert states[1].n_exposures == counted
    assert min(counted) >= 10
    assert len(states[1].files) == 2
