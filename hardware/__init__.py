"""Devices behind small Protocols; the real and the simulated one are siblings.

What it is for
    Everything that has a wire: lick line, valve, wheel, sync lines, spout, microscope, cameras,
    operator's commands. Only the composition root knows which kind of device runs.

Rules
    * No method that the session's loop calls may wait: it takes what is there. ``protocols`` says for
      each method which clock its times are in.
    * All edges carry the ticks of one hardware clock; ``clock`` maps the host's clock onto it.
    * Times of the host are ``host_s`` (a monotonic clock), times of the card ``ticks``.
    * A device that fails raises ``DeviceError``: what, where, how to mend.
    * A simulated device computes its times, it does not measure them, and every fault that we handle
      can be asked for.

Where to find what
    ``protocols``    the Protocols and the values that cross them
    ``events``       what devices put into the log
    ``lines``        the digital lines and their bits
    ``pulses``       what the edges of a line say: trains, the photodiode's delays, two recorders' copies
    ``clock``        clocks, ticks, the map between host and card
    ``calibration``  volume to open time of the valve
    ``links/``       sockets between programs: keys, who may talk, how much
    ``microscope/``  the link to a microscope: its protocol on one page, and both ends of it
    ``simulated/``   card, valve, wheel, spout, microscope, cameras, model mice

Decisions
    * The model mouse takes plain values (what it saw, when it drank) and gives lick times, never a
      chance per refresh: that is what lets a session jump.
    * Session time is the card's: ticks over the card's nominal rate, zero at the first flip. What the
      host measures is mapped onto it, never the other way round.
"""
