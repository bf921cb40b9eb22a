"""The record of a session: three append-only files.

What it is for
    ``events.jsonl``  one typed event a line, in the order the session saw and decided them
    ``flips.bin``     one fixed record a flip
    ``edges.bin``     one fixed record an edge: ticks of the card's clock, state of all lines

Rules
    * Written by one thread, every 10 ms, synced every second: ``kill -9`` loses at most 50 ms, a
      power cut at most a second or so. Nothing is ever rewritten.
    * Each line is an ``Entry``: flip and refresh at which the session saw or decided it, and the event.
    * Every event is an Input, a Decision or a Diagnostic (``schema.KINDS``). Feeding the Inputs to a
      new task gives the Decisions byte for byte (``replay``).
    * Readers take what is there: a torn tail is named and left out, never mended in place.
    * The first event says everything the session is a function of; the last how it ended. A log
      without the last one is of a session that crashed, or still runs.
    * A file of an older schema is upgraded on reading; a newer one is refused by name.

Decisions
    * Plain JSON lines for events: readable in ten years with no library, and 20 MB an hour at most.
    * Who writes a log holds it (``lock``), so that a recovery tells a running session from a crashed one.
    * On a full disk the writer frees a reserve that it set aside at the start, so that the end of the
      session can still be written.
"""
