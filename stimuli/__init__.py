"""What is on the screen.

What it is for
    Stimuli as values, the screens that show them, and the count of the monitor's refreshes.

Rules
    * A screen shows the frame it is asked for with its next flip and nothing else; ``advance`` is the
      only place where a session waits.
    * ``flip`` counts flips, ``refresh`` counts the monitor's refreshes. After the first dropped
      refresh they differ, and only ``refresh`` keeps the cadence.
    * Vendor libraries are imported in the screen that needs them and nowhere else.

Where to find what
    ``spec``      stimuli as values
    ``geometry``  degrees, centimetres, pixels and the spherical warp
    ``frames``    what is drawn for a stimulus, as arrays
    ``pictures``  image sets and movies, stand-ins, importing
    ``refresh``   the tracked refresh index
    ``screen``    the Protocol of a screen
    ``headless``  a simulated monitor that can be perfect, jitter, drop and drift
    ``psychopy_screen``  PsychoPy's window; ``canvas`` its textures, ``window`` how it stands on the monitor
    ``patch``     the photodiode's patch: when it is bright, and where

Decisions
    * Frames are rendered by numpy before the session and only shown while it runs: the window, the preview and the
      data file take the same arrays, and a test can compare pixels. Drawn by the graphics card, degrees and warp
      would be seen on that card only.
    * The refresh index is tracked from flip to flip. Computed from a nominal period it repeats or
      skips indices within minutes, since no monitor runs at its nominal rate (TASK_FACTS 1.3).
    * What the simulated monitor does is a pure function of seed and refresh, so that a session may
      jump from event to event and still see the same flips.
"""
