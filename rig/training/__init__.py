"""Day after day: from the logs of a mouse's sessions to what it does today, and what it drinks.

What it is for
    ``projection``  one session, in one log or in several parts, as the row that decisions rest on
    ``recompute``   those rows made anew from the files and held against the laboratory's
    ``unrecorded``  sessions on this rig's disk that the laboratory does not know yet
    ``welfare``     weight, water, and what forbids a session
    ``guard``       is this the mouse that it is said to be
    ``imaging``     containers, planes, quality: what the rig judges and what the operator must
    ``start``       a mouse's day from the scale to the water that is still to give
    ``today``       every mouse on one page
    ``table``       a laboratory's sessions with the published table's columns

Rules
    * A row is made from logs, never typed in. What can't be read is refused with a sentence, and the mouse keeps
      its stage; nothing falls back to a beginning.
    * What was done before a crash stays done: each step is on record before the next one begins.
    * Nothing here asks, prints or reads the environment: who asks an operator, and how, is handed in.

Decisions
    * A weight, the water before a passive session, the lease and the session are facts of their own, each with its
      identity from the start, so that a day that was broken off goes on where it stood.
    * The day is the laboratory's, by the clock on its wall; it is handed in, as the clock is.
"""
