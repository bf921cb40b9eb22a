"""Day after day: from the logs of a mouse's sessions to what it does today, and what it drinks.

What it is for
    ``projection``   one session, in one log or in several parts, as the row that decisions rest on
    ``recompute``    those rows made anew from the files and held against the laboratory's; ``memory`` of what was made
    ``unrecorded``   sessions on this rig's disk that the laboratory does not know yet; ``whose`` they are
    ``begun``        sessions that were started and are on no record: no stage is given without them
    ``standing``     a mouse before its next session: history, decision, what it has seen; or why there is none
    ``welfare``      weight, water, and what forbids a session; ``scales`` puts them on record
    ``placing``      an operator's word on the stage; what was recorded by mistake
    ``guard``        is this the mouse that it is said to be; ``large`` writes its name across the room
    ``start``        a mouse's day from the scales to the water that is still to give; ``parties`` take part in it,
                     ``holding`` has the mouse for this rig alone meanwhile, ``wording`` tells of it
    ``imaging``      containers, planes, quality: what the rig judges and what the operator must
    ``today``        every mouse on one page; ``about_mouse`` one mouse in words
    ``table``        a laboratory's sessions with the published table's columns
    ``model_mouse``  what a simulated mouse is like on its next day

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
