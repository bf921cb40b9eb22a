"""The side channel's server: the bench's operations on the card, and the leases of clients.

An operation is a method of ``Desk`` whose arguments are the fields of the request.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np

from hardware.clock import CardClock, HostClock, VirtualClock
from hardware.simulated.mice import ModelMouse, MouseKind, ScriptedMouse, Setting, make_mouse
from hardware.simulated.twin.analog import Piecewise
from hardware.simulated.twin.bench import BENCH_SERVICE
from hardware.simulated.twin.model import Card, ticks_in
from hardware.simulated.twin.mouse import MouseAtCard, WheelSignal, WheelSupply
from hardware.simulated.twin.photodiode import PhotodiodeAtCard
from hardware.simulated.twin.servicer import Servicer
from hardware.simulated.twin.trains import TrainAtCard

FASTEST_CHATTER_HZ = 10_000.0
PHOTODIODE_KEY = 5
SLACK_TICKS = 100
"""An edge for right now may be asked for this late, since calls that change lines take a tick each."""


class Desk:
    """The bench's operations."""

    def __init__(self, servicer: Servicer, *, seed: int) -> None:
        self._servicer = servicer
        self._seed = seed
        self._mouse: MouseAtCard | None = None
        self._wheel: str | None = None
        self._photodiode: PhotodiodeAtCard | None = None
        self._trains: dict[str, TrainAtCard] = {}
        self._n_leases = 0
        self._operations: dict[str, Callable[..., Any]] = {
            "stepped": lambda: servicer.stepped,
            "now": servicer.clock.now_s,
            "ticks": self._ticks,
            "host_s": self._host_s,
            "edges": self._edges,
            "set_lines": self._set_lines,
            "level": self._level,
            "wire": self._wire,
            "scope": self._scope,
            "forget": self._forget,
            "analog": self._analog,
            "n_tasks": lambda: len(servicer.tasks),
            "mouse": self._put_mouse,
            "photodiode": self._put_photodiode,
            "train": self._train,
            "stop_train": self._stop_train,
            "see": self._see,
            "spout": self._spout,
            "mouse_truth": self._mouse_truth,
            "fault": self._fault,
            "clear_faults": self._clear_faults,
            "reset": self._reset,
        }

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the side channel's handlers."""
        return [
            grpc.method_handlers_generic_handler(
                BENCH_SERVICE,
                {
                    "Call": grpc.unary_unary_rpc_method_handler(self._call),
                    "Lease": grpc.unary_stream_rpc_method_handler(self._lease),
                },
            )
        ]

    def _call(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        args = json.loads(request)
        what = args.pop("do")
        try:
            if what == "advance":
                result = self._advance(**args)
            else:
                with self._servicer.call():
                    result = self._operations[what](**args)
        except (ValueError, TypeError, KeyError) as e:
            return json.dumps({"error": f"{what}: {e}"}).encode()
        return json.dumps({"result": result}).encode()

    def _lease(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        dropped = threading.Event()
        with self._servicer.lock:
            self._n_leases += 1

        def drop() -> None:
            with self._servicer.call():
                self._n_leases -= 1
                if self._n_leases == 0:
                    self._servicer.abandon_all()
            dropped.set()

        if not context.add_callback(drop):
            drop()
            return
        yield b"{}"
        dropped.wait()

    @property
    def _card(self) -> Card:
        return self._servicer.card

    def _advance(self, host_s: float) -> float:
        clock = self._servicer.clock
        if not isinstance(clock, VirtualClock):
            raise TypeError("only a stepped clock can be moved")
        with self._servicer.lock:
            if host_s < clock.now_s():
                raise ValueError(f"the clock stands at {clock.now_s():.6f} s already, past {host_s:.6f} s")
            clock.sleep_until(host_s)
            self._card.advance(self._servicer.now_ticks())
            self._servicer.lock.notify_all()
        return clock.now_s()

    def _ticks(self, host_s: float) -> int:
        return self._card.clock.ticks(host_s) - self._card.counter_zero

    def _host_s(self, ticks: int) -> float:
        return self._card.clock.host_s(ticks + self._card.counter_zero)

    def _at(self, at_s: float | None) -> int:
        return self._card.now if at_s is None else self._card.clock.ticks(at_s)

    def _edges(self, line: str, times_s: list[float], first_level: bool) -> None:
        card, pin = self._card, self._card.resolve(line)
        ticks = [card.clock.ticks(time_s) for time_s in times_s]
        if ticks and min(ticks) < card.now - SLACK_TICKS:
            raise ValueError(f"{(card.now - min(ticks)) / 1e5:.3f} ms too late for an edge on {line}")
        for i, tick in enumerate(sorted(ticks)):
            card.at(tick, lambda level=first_level ^ bool(i % 2): card.drive(pin, level=level))  # type: ignore[misc]

    def _set_lines(self, levels: dict[str, bool]) -> None:
        for pin, level in [(self._card.resolve(net), level) for net, level in levels.items()]:
            self._card.drive(pin, level=level)

    def _level(self, net: str) -> bool:
        return self._card.level(self._card.resolve(net))

    def _wire(self, source: str, target: str) -> None:
        self._card.wire(source, target)

    def _scope(self, net: str, after_ticks: int | None) -> list[tuple[int, bool]]:
        zero = self._card.counter_zero
        changes = ((ticks - zero, level) for ticks, level in self._card.scope[self._card.resolve(net)])
        return [(ticks, level) for ticks, level in changes if after_ticks is None or ticks > after_ticks]

    def _forget(self) -> None:
        self._card.forget()

    def _analog(self, channel: str, volts: float | list[tuple[float, float]]) -> None:
        card = self._card
        points = volts if isinstance(volts, list) else [(0.0, volts)]
        source = Piecewise([card.clock.ticks(host_s) for host_s, _ in points], [v for _, v in points])
        card.analog.connect(channel, source, from_ticks=card.now)

    def _put_mouse(
        self,
        kind: str,
        seed: int,
        start_host_s: float,
        lick_line: str,
        valve: str,
        wheel: tuple[str, str] | None,
        lick_times_s: list[float],
        setting: dict[str, Any],
    ) -> None:
        card = self._card
        if self._mouse is not None:
            self._mouse.take_away()
        of_mouse, of_signal, of_supply = np.random.default_rng([self._seed, seed]).spawn(3)
        mouse: ModelMouse
        if kind == "scripted":
            mouse = ScriptedMouse(of_mouse, lick_times_s=lick_times_s)
        else:
            mouse = make_mouse(MouseKind(kind), of_mouse, start_host_s=start_host_s, setting=Setting(**setting))
        self._mouse = MouseAtCard(card=card, mouse=mouse, lick_line=lick_line, valve=valve)
        signal = WheelSignal(clock=card.clock, mouse=mouse, start_host_s=start_host_s, rng=of_signal)
        card.wheel_turns = signal.turns
        self._wheel = wheel[0] if wheel is not None else None
        if wheel is not None:
            card.analog.connect(wheel[0], signal, from_ticks=card.now)
            card.analog.connect(wheel[1], WheelSupply(rng=of_supply), from_ticks=card.now)

    def _put_photodiode(self, line: str, frame: str, running: str, start_host_s: float) -> None:
        if self._photodiode is not None:
            self._photodiode.take_away()
        rng = np.random.default_rng([self._seed, PHOTODIODE_KEY])
        self._photodiode = PhotodiodeAtCard(
            card=self._card, rng=rng, pin=line, frame=frame, running=running, start_host_s=start_host_s
        )

    def _train(self, line: str, rate_hz: float, width_s: float, start_host_s: float) -> None:
        if line in self._trains:
            self._trains[line].stop()
        self._trains[line] = TrainAtCard(
            card=self._card, pin=line, rate_hz=rate_hz, width_s=width_s, start_host_s=start_host_s
        )

    def _stop_train(self, line: str) -> int:
        if line not in self._trains:
            raise ValueError(f"there are no pulses on {line}")
        self._trains[line].stop()
        return self._trains.pop(line).n_pulses

    def _at_card(self) -> MouseAtCard:
        if self._mouse is None:
            raise ValueError("there is no mouse")
        return self._mouse

    def _see(self, host_s: float, identity: str) -> None:
        self._at_card().see(host_s=host_s, identity=identity)

    def _spout(self, at_mouse: bool) -> None:
        self._at_card().at_spout = at_mouse

    def _mouse_truth(self) -> dict[str, Any]:
        mouse, zero = self._at_card(), self._card.counter_zero
        return {
            "licks": [(host_s, ticks - zero, reached) for host_s, ticks, reached in mouse.licks],
            "drinks": [(host_s, ticks - zero) for host_s, ticks in mouse.drinks],
        }

    def _fault(self, name: str, args: dict[str, Any]) -> None:
        faults: dict[str, Callable[..., None]] = {
            "unplugged": self._unplugged,
            "overflow": self._overflow,
            "late_answers": self._late_answers,
            "error": self._error,
            "lag": self._lag,
            "merge_ci": self._merge_ci,
            "start_latency": self._start_latency,
            "watchdog_missing": self._watchdog_missing,
            "change_detection_missing": self._change_detection_missing,
            "wheel_frozen": self._wheel_frozen,
            "stuck": self._stuck,
            "chatter": self._chatter,
            "swapped": self._swapped,
            "cut": self._cut,
        }
        if name not in faults:
            raise ValueError(f"there is no fault {name}; there are {', '.join(faults)}")
        faults[name](**args)

    def _unplugged(self, at_s: float | None = None) -> None:
        self._card.faults.unplugged_ticks = self._at(at_s)

    def _overflow(self, at_s: float | None = None) -> None:
        self._card.faults.overflow_ticks = self._at(at_s)

    def _late_answers(self, seconds: float, at_s: float | None = None) -> None:
        self._card.faults.late_answer_s, self._card.faults.late_ticks = seconds, self._at(at_s)

    def _error(self, rpc: str, code: int, times: int = 1) -> None:
        if code >= 0:
            raise ValueError(f"an error's code is negative, not {code}")
        self._card.faults.errors[rpc] = code, times

    def _lag(self, digital_s: float = 0.0, counter_s: float = 0.0) -> None:
        self._card.faults.digital_lag_ticks = ticks_in(digital_s)
        self._card.faults.counter_lag_ticks = ticks_in(counter_s)

    def _merge_ci(self, within_s: float = 10e-6) -> None:
        self._card.faults.merge_ticks = ticks_in(within_s)

    def _start_latency(self, seconds: float) -> None:
        self._card.faults.start_latency_s = seconds

    def _watchdog_missing(self) -> None:
        self._card.faults.watchdog_missing = True

    def _change_detection_missing(self, lines: list[str]) -> None:
        self._card.faults.no_change_detection = frozenset(self._card.resolve(line) for line in lines)

    def _wheel_frozen(self, at_s: float | None = None) -> None:
        if self._wheel is None:
            raise ValueError("no mouse runs on a wheel")
        self._card.analog.freeze(self._wheel, from_ticks=self._at(at_s))

    def _stuck(self, net: str, level: bool, at_s: float | None = None) -> None:
        self._card.at(self._at(at_s), lambda: self._card.stick(net, level=level))

    def _chatter(self, net: str, hz: float, at_s: float | None = None) -> None:
        if not 0 < hz <= FASTEST_CHATTER_HZ:
            raise ValueError(f"a line chatters at up to {FASTEST_CHATTER_HZ:g} Hz, not at {hz:g}")
        self._card.at(self._at(at_s), lambda: self._card.chatter(net, hz=hz))

    def _swapped(self, one: str, other: str, at_s: float | None = None) -> None:
        self._card.at(self._at(at_s), lambda: self._card.swap(one, other))

    def _cut(self, source: str, target: str, at_s: float | None = None) -> None:
        self._card.at(self._at(at_s), lambda: self._card.cut(source, target))

    def _clear_faults(self) -> None:
        self._card.mend()

    def _reset(self) -> None:
        servicer, old = self._servicer, self._card
        for task in servicer.tasks.values():
            task.aborted = True
        servicer.tasks.clear()
        self._mouse = self._wheel = self._photodiode = None
        self._trains.clear()
        card = Card(device=old.device, clock=old.clock)
        card.advance(old.now)
        servicer.card = card


def new_desk(options: dict[str, Any]) -> tuple[Servicer, Desk]:
    """Return the service and the bench of a new card."""
    card_clock = CardClock(drift_ppm=options["drift_ppm"], zero_ticks=options["zero_ticks"])
    clock = VirtualClock() if options["stepped"] else HostClock()
    servicer = Servicer(card=Card(device=options["device"], clock=card_clock), clock=clock)
    return servicer, Desk(servicer, seed=options["seed"])
