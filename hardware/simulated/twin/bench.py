"""The side channel's client: what a test does to the card from outside, through the same server.

Each request is a JSON object with the operation in ``do``; the answer holds ``result`` or ``error``. Host times
are seconds of the host's clock; ticks are the 100 MHz count without wrap, as the client counts it: from the start of
its counter that is sampled with the changes, or of its clocked inputs. Before there is one they count from the
card's own zero.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc

BENCH_SERVICE = "open_vision_rig.twin.Bench"
DEADLINE_S = 10.0


class BenchError(Exception):
    """The bench was asked for something that can't be, or the twin is gone."""


@dataclass(frozen=True, slots=True)
class MouseTruth:
    """What the mouse did, whatever the rig saw of it."""

    licks: list[tuple[float, int, bool]]
    """Host time, ticks, and whether the spout was in reach."""
    drinks: list[tuple[float, int]]
    """Host time and ticks of the valve's rise."""


class TwinBench:
    """A hand at the card's terminals.

    On a stepped clock the one bench that moves the clock must be the one that is asked for the time.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(
            address,
            options=(
                ("grpc.max_receive_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )
        self._call = self._channel.unary_unary(f"/{BENCH_SERVICE}/Call")
        self._lease = self._channel.unary_stream(f"/{BENCH_SERVICE}/Lease")
        self._stepped = bool(self._ask("stepped"))
        self._now_s = float(self._ask("now"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; a lease of it drops."""
        self._channel.close()

    def now_s(self) -> float:
        """Return the host's time, or the stepped clock's."""
        return self._now_s if self._stepped else time.perf_counter()

    def advance(self, host_s: float) -> None:
        """Move the stepped clock to a time, and process all that happens until then."""
        self._now_s = float(self._ask("advance", host_s=host_s))

    def ticks(self, host_s: float) -> int:
        """Return the card's count at a host time."""
        return int(self._ask("ticks", host_s=host_s))

    def host_s(self, ticks: int) -> float:
        """Return the host time of a count of the card."""
        return float(self._ask("host_s", ticks=ticks))

    def edges(self, line: str, times_s: list[float], first_level: bool = True) -> None:
        """Let a net toggle at times ahead, to ``first_level`` at the first."""
        self._ask("edges", line=line, times_s=list(times_s), first_level=first_level)

    def set_line(self, line: str, level: bool) -> None:
        """Give a net a level now."""
        self.set_lines({line: level})

    def set_lines(self, levels: dict[str, bool]) -> None:
        """Give several nets their levels at once: one change."""
        self._ask("set_lines", levels=levels)

    def level(self, net: str) -> bool:
        """Return a net's level now."""
        return bool(self._ask("level", net=net))

    def wire(self, source: str, target: str) -> None:
        """Lead a net's level to another: a line, a PFI terminal, or a counter's output such as ``ctr0``."""
        self._ask("wire", source=source, target=target)

    def scope(self, net: str, after_ticks: int | None = None) -> list[tuple[int, bool]]:
        """Return each change of a net until now: ticks, and level from there on."""
        return [(ticks, level) for ticks, level in self._ask("scope", net=net, after_ticks=after_ticks)]

    def forget(self) -> None:
        """Let the scope forget all changes until now: it keeps them for ever otherwise."""
        self._ask("forget")

    def analog(self, channel: str, volts: float | list[tuple[float, float]]) -> None:
        """Put a voltage at an analog input from now on, or a line through points (host time, volts)."""
        self._ask("analog", channel=channel, volts=volts)

    def n_tasks(self) -> int:
        """Return how many tasks clients hold."""
        return int(self._ask("n_tasks"))

    def mouse(
        self,
        kind: str,
        seed: int,
        start_host_s: float,
        lick_line: str,
        *,
        valve: str = "ctr0",
        wheel: tuple[str, str] | None = ("ai0", "ai1"),
        lick_times_s: list[float] | None = None,
        setting: dict[str, Any] | None = None,
    ) -> None:
        """Put a model mouse behind the lick line, on the wheel, under the valve.

        Parameters
        ----------
        kind
            One of ``MouseKind``, or ``scripted`` with ``lick_times_s``.
        valve
            The net whose rise lets water flow.
        wheel
            Analog inputs of the encoder's signal and supply.
        setting
            Fields of ``Setting``.
        """
        self._ask(
            "mouse",
            kind=kind,
            seed=seed,
            start_host_s=start_host_s,
            lick_line=lick_line,
            valve=valve,
            wheel=wheel,
            lick_times_s=lick_times_s or [],
            setting=setting or {},
        )

    def photodiode(self, line: str, frame: str, running: str, start_host_s: float) -> None:
        """Put a photodiode over the patch of a monitor whose flips are the falls of ``frame``, from the next one on.

        The splash before comes before ``start_host_s``, the one after when ``running`` falls.
        """
        self._ask("photodiode", line=line, frame=frame, running=running, start_host_s=start_host_s)

    def train(self, line: str, rate_hz: float, width_s: float, start_host_s: float) -> None:
        """Give regular pulses on a net, the first at a host time, until ``stop_train``."""
        self._ask("train", line=line, rate_hz=rate_hz, width_s=width_s, start_host_s=start_host_s)

    def stop_train(self, line: str) -> int:
        """Give no more pulses on a net; return how many there were."""
        return int(self._ask("stop_train", line=line))

    def see(self, host_s: float, identity: str) -> None:
        """Tell the mouse what has come on the screen."""
        self._ask("see", host_s=host_s, identity=identity)

    def spout(self, at_mouse: bool) -> None:
        """Put the spout within reach, or out of it."""
        self._ask("spout", at_mouse=at_mouse)

    def mouse_truth(self) -> MouseTruth:
        """Return what the mouse did until now."""
        truth = self._ask("mouse_truth")
        return MouseTruth(
            licks=[(host_s, ticks, reached) for host_s, ticks, reached in truth["licks"]],
            drinks=[(host_s, ticks) for host_s, ticks in truth["drinks"]],
        )

    def fault(self, name: str, **args: Any) -> None:  # noqa: ANN401
        """Break something; ``at_s`` where it is taken is a host time, now without it.

        ``unplugged(at_s)``, ``overflow(at_s)``, ``late_answers(seconds, at_s)``, ``error(rpc, code, times=1)``,
        ``lag(digital_s, counter_s)``, ``merge_ci(within_s=10e-6)``, ``start_latency(seconds)``,
        ``watchdog_missing()``, ``change_detection_missing(lines)``, ``wheel_frozen(at_s)``,
        ``stuck(net, level, at_s)``, ``chatter(net, hz, at_s)``, ``cut(source, target, at_s)``,
        ``swapped(one, other, at_s)``, two wires exchanged at the card's end.
        """
        self._ask("fault", name=name, args=args)

    def clear_faults(self) -> None:
        """Mend everything."""
        self._ask("clear_faults")

    def reset(self) -> None:
        """Start over with a new card of the same kind: no tasks, wires, mouse or faults. The clock goes on."""
        self._ask("reset")

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Hold the client's lease: when the last one drops, however it does, all tasks are aborted."""
        stream = self._lease(b"{}")
        try:
            next(stream)
        except grpc.RpcError as error:
            raise BenchError(f"lease: the twin does not answer ({error.code().name})") from error
        try:
            yield
        finally:
            stream.cancel()

    def _ask(self, what: str, **args: Any) -> Any:  # noqa: ANN401
        try:
            answer = json.loads(self._call(json.dumps({"do": what, **args}).encode(), timeout=DEADLINE_S))
        except grpc.RpcError as error:
            raise BenchError(f"{what}: the twin does not answer ({error.code().name})") from error
        except ValueError as error:  # of a channel that was closed meanwhile
            raise BenchError(f"{what}: {error}") from error
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer["result"]
