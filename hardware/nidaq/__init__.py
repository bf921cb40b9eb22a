"""A rig's card through the nidaqmx library: licks, valve, wheel and sync lines, all on one clock.

What it is for
    Everything of a rig that hangs on a National Instruments card, behind the Protocols that the simulated devices
    keep as well. The same code drives a card in this computer through the driver, a card in another computer
    through NI's gRPC device server, and the twin, which is such a server with a computed card behind it
    (``hardware.simulated.twin``). X Series cards are what it was written for.

Where to find what
    ``connection``  which card and what is wired where; makes tasks; deadlines; errors with remedies
    ``edges``       the reader: every edge with its tick, licks to the loop, frame pulses, all edges to the log
    ``timebase``    where the card's counter stands, as far as the host can know
    ``valve``       one counter, two paths; read-back; echo
    ``watchdog``    the valve's line goes low when this process no longer serves it
    ``encoder``     the wheel at each flip
    ``outputs``     frame pulses, running, alignment, acquisition trigger
    ``checks``      what is found out before a session, and on a new card
    ``bench``       how long a reward takes

Use
    One ``Connection(CardConfig(...))``; ``NidaqEdges`` on it, then ``NidaqOutputs``, ``NidaqValve`` and
    ``NidaqEncoder`` on both, opened in this order and closed in reverse.

Threads
    loop            asks the valve, takes licks and reports from queues; writes the frame line's fall, the running
                    and the acquisition line itself, one call each
    card reader     polls every 2 ms: edges, both paths of the valve, end of frame pulses, alignment pulses
    log's thread    ``flush``; ``Encoder.read``, which empties the driver's buffer
    watchdog        kicks it, four times in its time

Rules
    * A task has one owner. The valve's counter belongs to the reader, and only ``close_now`` touches it from
      elsewhere. The frame line alone is written by two threads, behind a lock.
    * Every call ends: driver calls by themselves, gRPC calls by a deadline. The first call that finds the card or
      its server gone remembers it, and all others fail at once from then on.
    * The reader's work is ``poll_once``; the thread only repeats it. So tests drive all of it without threads, on a
      twin whose time they step.
    * A device server that answers late all the time is named, since pulses and rewards would be; one stall is not.
    * Errors of the driver never pass as such: ``DeviceError`` says what, where and how to mend.
    * Ticks that were seen come from the card: licks, edges, what the echo confirms. When software starts a pulse, its
      tick is an estimate until the echo's; the host's clock otherwise serves decisions with margins of milliseconds.

Decisions
    * The counter counts 100 MHz. With 100 kHz two changes within one of its ticks could be stored as one time and
      two states, and all later edges would be wrong by one (NIDAQ_NOTES 8.1). The totals of both buffers are
      compared all the time all the same.
    * ``avail`` is polled; no driver events. Polling is the same code on all three ways to a card, costs no
      interrupt for each edge, and loses nothing.
    * Stream readers and writers, since ``task.read`` and ``task.write`` make five calls where these make one.
    * The card's path is armed only inside the window with margins of 20 ms before and 60 ms after; the software
      path serves the margins by the lick's own ticks. So a lick inside
      the window is never lost to a call, and one outside it is paid only if the reader is held up for more than 60 ms
      while the card waits; a reader that has lately been slow does not have it wait. The card alone is refused.
    * Whether the card has fired is read back before anything else may start the counter and before a disarm counts.
    * A pulse is one finite pulse of a task that is stopped after each: the width can change only while it is stopped,
      and a finished task that was not stopped would not pulse again.
    * The alignment pulses come from the reader, not from a thread of their own: a few milliseconds of jitter don't
      matter to pulses whose edges are read back, and a thread less can hang.
    * An angle at a flip is one sample, not a mean of two: a mean across the end of a turn is no angle.

The first hour on a real card
    No twin can prove what follows. Unplug the valve, wire the counter's output to the echo's input and the alignment
    output to the lick sensor's inputs, and try. ``rig check --rig FILE --loopback`` does 3 to 5 as far as wires can
    tell, ``rig bench --rig FILE`` measures 5 and the calls of 6.

    1. Two outputs toggled 2 us, then 20 ns apart, wired to two input lines, a thousand times: the totals of states and
       times must stay equal, whatever the card makes of the pair.
    2. Change detection together with a counter sampled by it at the card's full line count: routes, and DMA channels
       or interrupts, may be refused by the driver alone.
    3. ``checks.loopback``: widths by the echo; a pulse stopped in its middle must end low; the tenth pulse after
       nine others must still come.
    4. The output's level and done of the counter, read back while it waits, pulses and has finished: the card's path
       rests on them.
    5. The time from start to pulse, from arming call to armed, and a lick given right at both: the margins are far
       larger, but look.
    6. ``flip_pulse`` against the photodiode: tens of microseconds on PCIe, unknown over USB.
    7. The watchdog with a long pulse and the process killed: the line must go low; the counter is not told.
    8. The process killed with the valve open, and with the card armed: the pulse must end by itself, and a card
       behind a device server may pay one more lick until its watchdog expires.
    9. The cable pulled in mid-session, and put back: the code of the error, and that it is named within a second.
    10. Lines of ports 1 and 2 after a reset and after a task was cleared: PFI outputs may stay driven.
    11. Analog samples against edges: a ramp switched by an output line, both recorded; the start is known to half a
        call only.
    12. On Windows the reader's 2 ms need the finer system timer that the session asks for; look at
        ``longest_poll_ms``.
    13. A quadrature wheel: turn it by hand and compare; whether sample 0 of counter and analog inputs is the same.
    14. A card without change detection: whether its lines can be sampled on a clock at all, and from which.
"""
