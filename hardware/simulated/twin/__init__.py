"""A digital twin of the card: a device server in a process of its own that the real nidaqmx library talks to.

The rig's card code runs against it unchanged, through the library's gRPC side, over loopback. What it is for: to
try that code, its errors and its recovery without a card, with a ground truth to compare with; to kill, freeze
and unplug the card; to put a model mouse behind the lick line, so that a whole session runs on it.

    ``process``     starts the twin and ends it: ``Twin``
    ``bench``       the side channel's client: edges, wires, voltages, mouse, faults, the scope: ``TwinBench``
    ``server``      the process itself
    ``desk``        the side channel's server
    ``servicer``    the RPCs that are served
    ``service``     what every call goes through: lock, time, errors, sessions, events
    ``attributes``  the properties that are known
    ``inputs``      what acquisitions make the card do
    ``outputs``     what outputs make the card do
    ``tasks``       a task's states, and what all engines have in common
    ``mouse``       a model mouse at the card
    ``photodiode``  a photodiode over a monitor's patch, whose flips are the frame pulses
    ``trains``      regular pulses from outside: a camera's exposures
    ``model``       the card: pins, wires, events in order
    ``analog``      voltages over time
    ``pins``        names of lines and terminals
    ``errors``      the driver's error codes

Rules
-----
- Times are computed, not measured. An edge asked for at host time t has exactly the tick of t, whenever the
  process gets to run; the card catches up with the clock whenever somebody asks.
- On a stepped clock nothing happens unless ``advance`` is called, no call waits, and equal calls give equal answers.
- What isn't known is refused: an RPC that isn't served is UNIMPLEMENTED, an unknown property is -200233. Nothing
  is answered by a default.
- Loopback only; the process ends when its standard input does. Whoever holds the lease loses all tasks with it;
  static outputs keep their levels, a pulse that has begun ends on time.

To add an RPC, write a method of ``Servicer`` under ``@serves("Name")``; to add a property, a line in
``attributes``. NIDAQ_NOTES 2 says what each client call needs in the answer.

What it can't prove is listed in NIDAQ_NOTES 8: routes and resources that only the driver knows, the driver's own
delays, two edges within one tick of a slow timebase, end and idle level of a pulse that is stopped, the watchdog's
details, and every latency. Say nothing about those from a run on the twin.
"""

from hardware.simulated.twin.bench import BenchError, MouseTruth, TwinBench
from hardware.simulated.twin.process import Twin

__all__ = ["BenchError", "MouseTruth", "Twin", "TwinBench"]
