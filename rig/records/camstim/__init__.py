"""Sessions that camstim recorded: read, and run again through our task.

What it is for
    The laboratory's earlier sessions are camstim pickles. One of them is public and complete; running our task
    on what it drew, showed and saw is the strongest proof that our rules are the published experiment's.

Rules
    * A pickle can run code. Only the handful of types that a camstim file is made of are let in; anything else
      is refused by name.
    * camstim counts its own updates, one a flip, and calls them frames. Frame ``f`` is flip ``f`` here; its time
      is the sum of the intervals before it (TASK_FACTS 6).
    * What camstim drew (change time, catch, auto reward, image), when it showed flashes and when its time-outs
      ended is fed in; every start, abort, change, outcome, reward and end is ours and compared.

Where to find it
    ``reader``     the file as plain values
    ``stage``      its parameters as a stage of ours
    ``replay``     our task on it, trial by trial beside what was recorded
    ``importing``  it as a session of ours, so that it goes through the same tables
"""


class CamstimError(ValueError):
    """A file is no camstim session that can be read."""
