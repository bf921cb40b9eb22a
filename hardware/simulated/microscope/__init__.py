"""A simulated microscope as a process of its own: real sockets, a clock of its own, faults on request.

What it is for: to try the link to a microscope, its errors and its recovery, without a microscope; to have frames on a
clock that drifts, with the truth to compare with.

    ``process``     starts the program and ends it; keeps all that it announced: ``SimulatedMicroscopeProcess``
    ``wires``       leads pulses and trigger to a simulated card or a twin
    ``program``     the process itself: a server, an instrument, lines of JSON to its parent
    ``instrument``  what it does when it is told to
    ``frames``      when each pulse comes
    ``clock``       its clock
    ``faults``      what it can be asked to do wrong, and after which step

Rules
-----
- Pulses are computed on its own clock and announced as host times before they come, so that no busy machine moves
  one. A recording ends with those that have been announced.
- The card gathers no edge from after the last time that is known.
- The process ends when its standard input does. What it announced outlives it, in its parent.
"""
