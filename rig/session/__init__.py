"""Running one session.

What it is for
    ``assemble``  the composition root: from a checked configuration to devices, task, log and loop
    ``loop``      the loop: poll, step, act, advance, log
    ``devices``   everything with a wire, and how all of it is made safe
    ``arrivals``  what the devices have to say, as events that the task takes
    ``columns``   flips, wheel and edges, gathered apart from the steps
    ``monitors``  stuck lick line, frozen wheel, full disk: what is watched once a second
    ``imaging``   the microscope: prepared, armed, triggered, seen, stopped, lost
    ``cameras``   likewise: started, watched, stopped
    ``lines``     what the card's lines show: silent, swapped or at the wrong rate
    ``streams``   trains of pulses and the photodiode, judged once a minute as they come
    ``recorders`` these four, as the loop steps them
    ``realtime``  garbage collector, switch interval, priority: set for the session, restored after it
    ``microscopes``  which microscope a rig has
    ``control``   the authenticated command socket, and the client that talks to it
    ``process``   a session in a process of its own, watched by another one

Rules
    * Only ``screen.advance`` waits. Everything else in the loop takes what is there.
    * Devices open in the order listed and close in reverse, whatever happens.
    * Whatever ends the loop (the task, a fault, an exception, a signal), the valve is closed first, microscope and
      cameras are stopped and waited for, no longer than their limits, and the log is closed last.
    * The task waits for the microscope: a start may take as long as the gray before it.
    * On a virtual clock the same loop may jump from due to due; stepping every refresh gives the same
      bytes (tested).
"""
