"""A rig without hardware: every device of ``hardware.protocols``, computed instead of wired.

Times are computed, never measured: the same seed gives the same edges to the tick, whether the
session runs in real time, jumps through an hour in a fraction of a second, or is stepped refresh by
refresh. Each fault that the controller handles can be asked for by ``Faults``.

    ``card``        the counter, the lines, the edges in order; owns everything with a wire
    ``valve``       one pulse counter, two ways to start it
    ``wheel``       the running wheel as a pair of voltages
    ``spout``       the spout's stage
    ``photodiode``  the patch of a simulated monitor, seen with the monitor's delay and jitter
    ``wires``       lines that stick or are exchanged from a time on
    ``imaging``     microscope and cameras
    ``microscope``  a microscope in another process, behind real sockets
    ``mice``        the model mice
    ``faults``      what can be asked for to go wrong
    ``twin``        a card of its own kind: a device server in another process, for the code in ``hardware.nidaq``
"""
