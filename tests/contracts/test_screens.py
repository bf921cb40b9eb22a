"""What every screen must do, as its Protocol says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import VirtualClock
from hardware.events import Finding
from hardware.protocols import Identity
from stimuli.frames import Frames
from stimuli.geometry import Geometry
from stimuli.headless import Behaviour, PacedScreen, VirtualScreen
from stimuli.screen import Flip, Screen
from stimuli.spec import Gray, NaturalImage, NaturalMovie, StimulusError
from tests.contracts.backends import SCREENS, START_S, PlainPictures, train
from tests.display import VirtualDisplay

STIMULI = [
    Gray(),
    NaturalImage(image_set="A", name="im065"),
    NaturalMovie(name="natural_movie_one", n_frames=5, n_repeats=2, refreshes_per_frame=2),
]
GRAY, IMAGE, MOVIE = 0, 1, 2
OPEN: list[Screen] = []


MARKS = {name: pytest.mark.window if backend.needs_display else () for name, backend in SCREENS.items()}


def params(*names: str) -> list[object]:
    """Screens to run a test with; those with a window are marked so."""
    return [pytest.param(name, marks=MARKS[name]) for name in names]


@pytest.fixture(params=params(*SCREENS))
def kind(request: pytest.FixtureRequest) -> str:
    if SCREENS[request.param].needs_display:
        request.getfixturevalue("display")
    return str(request.param)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    for screen in OPEN:
        screen.close()
    OPEN.clear()


class Bench:
    """A screen, its clock, and what its observer was told."""

    def __init__(self, kind: str, behaviour: Behaviour = Behaviour.JITTERING, *, seed: int = 1) -> None:
        self.clock = VirtualClock(START_S)
        self.seen: list[tuple[float, int]] = []
        self.screen: Screen = SCREENS[kind].make(train(behaviour, seed=seed), self.clock, self._see)
        OPEN.append(self.screen)
        self.identity = self.screen.open()
        self.screen.prepare(STIMULI)

    def _see(self, host_s: float, stimulus: int) -> bool:
        self.seen.append((host_s, stimulus))
        return False

    def flip(self, stimulus: int = GRAY) -> Flip:
        """Flip once."""
        return self.screen.advance(stimulus=stimulus, until_refresh=0, until_host_s=math.inf, until_flip=0)


def test_open_says_what_the_screen_is_and_closing_twice_is_fine(kind: str) -> None:
    bench = Bench(kind)
    assert isinstance(bench.identity, Identity)
    assert bench.identity.device == bench.screen.name
    assert all(isinstance(finding, Finding) for finding in bench.screen.check())
    bench.screen.close()
    bench.screen.close()


@pytest.mark.parametrize("behaviour", list(Behaviour))
def test_flips_are_numbered_from_0_and_neither_time_nor_refresh_stands_still(kind: str, behaviour: Behaviour) -> None:
    bench = Bench(kind, behaviour)
    n = 600 if SCREENS[kind].needs_display else 6000
    flips = [bench.flip() for _ in range(n)]
    assert [flip.flip for flip in flips] == list(range(n))
    assert flips[0].refresh == 0
    assert (np.diff([flip.refresh for flip in flips]) >= 1).all()
    assert (np.diff([flip.host_s for flip in flips]) > 0).all()
    assert bench.clock.now_s() == flips[-1].host_s


@given(
    kind=st.sampled_from([name for name, backend in SCREENS.items() if not backend.needs_display]),
    behaviour=st.sampled_from(list(Behaviour)),
    seed=st.integers(0, 1000),
    script=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40)), min_size=1, max_size=20),
    take_every=st.integers(1, 30),
)
def test_columns_hold_every_flip_once_with_what_was_asked_for(
    kind: str, behaviour: Behaviour, seed: int, script: list[tuple[int, int]], take_every: int
) -> None:
    assert_columns(kind, behaviour, seed=seed, script=script, take_every=take_every)


@pytest.mark.parametrize("behaviour", list(Behaviour))
@pytest.mark.parametrize("take_every", [1, 2, 30])
def test_a_windows_columns_hold_every_flip_once_with_what_was_asked_for(
    behaviour: Behaviour, take_every: int, display: VirtualDisplay
) -> None:
    script = [(GRAY, 3), (IMAGE, 40), (GRAY, 1), (GRAY, 7), (IMAGE, 1)]
    assert_columns("psychopy", behaviour, seed=take_every, script=script, take_every=take_every)


def assert_columns(
    kind: str, behaviour: Behaviour, *, seed: int, script: list[tuple[int, int]], take_every: int
) -> None:
    """Ask a screen for a script of (stimulus, flips) and compare its columns with what came back."""
    bench = Bench(kind, behaviour, seed=seed)
    asked, flips, taken = [], [], []
    for stimulus, n in script:
        for _ in range(n):
            asked.append(stimulus)
            flips.append(bench.flip(stimulus))
            if len(flips) % take_every == 0:
                taken.append(bench.screen.take())
    taken.append(bench.screen.take())
    assert [first for rows in taken for first in range(rows.first_flip, rows.first_flip + len(rows.refresh))] == list(
        range(len(flips))
    )
    assert np.concatenate([rows.refresh for rows in taken]).tolist() == [flip.refresh for flip in flips]
    assert np.concatenate([rows.host_s for rows in taken]).tolist() == [flip.host_s for flip in flips]
    assert np.concatenate([rows.stimulus for rows in taken]).tolist() == asked
    steps = np.diff([flip.refresh for flip in flips], prepend=-1)
    assert np.concatenate([rows.n_missed for rows in taken]).tolist() == (steps - 1).tolist()
    news = [(f.host_s, s) for i, (f, s) in enumerate(zip(flips, asked, strict=True)) if i == 0 or s != asked[i - 1]]
    assert bench.seen == news


def test_a_second_take_has_nothing(kind: str) -> None:
    bench = Bench(kind)
    bench.flip()
    assert len(bench.screen.take().refresh) == 1
    rows = bench.screen.take()
    assert (rows.first_flip, len(rows.refresh), len(rows.stimulus)) == (1, 0, 0)


def test_a_movie_counts_its_frames_in_refreshes_from_its_onset(kind: str) -> None:
    bench = Bench(kind, Behaviour.PERFECT)
    for _ in range(7):
        bench.flip(GRAY)
    for _ in range(14):
        bench.flip(MOVIE)
        bench.clock.sleep_until(bench.clock.now_s())
    bench.flip(GRAY)
    frames = bench.screen.take().movie_frame.tolist()
    assert frames == [-1] * 7 + [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 0, 1, 1] + [-1]


HEADLESS = [name for name, backend in SCREENS.items() if not backend.needs_display]


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_headless_screen_says_what_a_window_would_show(kind: str, display: VirtualDisplay, tmp_path: Path) -> None:
    """Flip by flip on the same clock: gray, a picture, a movie, each again."""
    headless, window = Bench(kind, Behaviour.PERFECT), Bench("psychopy", Behaviour.PERFECT)
    assert isinstance(headless.screen, VirtualScreen | PacedScreen)
    frames = Frames(geometry=Geometry(width_px=64, height_px=40), pictures=PlainPictures())
    with pytest.raises(StimulusError, match="shows nothing yet"):
        headless.screen.frame(frames, moving_dir=tmp_path)
    levels = []
    for stimulus in [GRAY] * 3 + [IMAGE] * 2 + [MOVIE] * 12 + [GRAY, MOVIE, MOVIE, MOVIE, IMAGE]:
        assert headless.flip(stimulus).refresh == window.flip(stimulus).refresh
        headless.screen.take()
        frame = headless.screen.frame(frames, moving_dir=tmp_path)
        assert (display.window(64, 40) == frame[..., np.newaxis]).all()
        levels.append(int(frame[20, 32]))
    assert levels == [127] * 3 + [200] * 2 + [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 0] + [127, 0, 0, 1, 200]


@pytest.mark.parametrize("kind", params(*[n for n, backend in SCREENS.items() if not backend.jumps]), indirect=True)
def test_a_program_that_is_late_misses_the_refreshes_that_went_by(kind: str) -> None:
    bench = Bench(kind, Behaviour.PERFECT)
    bench.flip()
    bench.clock.sleep_until(START_S + 5.5 / 60)  # refreshes 1 to 5 go by
    assert bench.flip().refresh == 6
    assert bench.screen.take().n_missed.tolist() == [0, 5]


@pytest.mark.parametrize("kind", [name for name, backend in SCREENS.items() if backend.jumps])
@pytest.mark.parametrize(
    ("limits", "stops_at"),
    [
        ({"until_refresh": 30}, 30),
        ({"until_flip": 20}, 20),
        ({"until_host_s": START_S + 9.5 / 60}, 10),
        ({"until_refresh": 30, "until_flip": 20, "until_host_s": START_S + 9.5 / 60}, 10),  # the first of them
        ({"until_refresh": 10_000}, 10_000),  # more than a block ahead
        ({"until_refresh": 0}, 1),  # long past: one flip all the same
    ],
)
def test_a_virtual_screen_goes_on_to_the_first_limit(kind: str, limits: dict, stops_at: int) -> None:
    bench = Bench(kind, Behaviour.PERFECT)
    bench.flip()
    never = {"until_refresh": 2**62, "until_host_s": math.inf, "until_flip": 2**62}
    flip = bench.screen.advance(stimulus=GRAY, **{**never, **limits})
    assert flip.flip == flip.refresh == stops_at
    assert len(bench.screen.take().refresh) == stops_at + 1
