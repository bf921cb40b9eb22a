"""The shell: configuration, composition, the loop, the log, the tables, the command line.

Rules
    * Nothing imports ``rig``; it imports everything else. ``session/assemble.py`` is the only place
      that knows which device is real and which is simulated.
    * The event log is the only record of a session. Every table, figure and summary is a fold over
      it, by the same code while the session runs and from the file.
    * The session's process does nothing but run the session: progress, figures and summaries are
      made by others that read the log.

Where to find what
    ``cli``       the command ``rig``
    ``config/``   YAML files to checked models, with file and line of every problem
    ``curriculum/``  curricula as files: checked, imported, compared, drawn, explained
    ``session/``  assembling a rig, the loop, real-time settings, the command socket, monitors
    ``log/``      event types, writer, tolerant reader, replay
    ``records/``  folds: trials, presentations, summary, figures
    ``lab/``      the laboratory's database: mice, weights, water, sessions, decisions, leases
    ``training/`` a mouse's day: rows of logs, welfare, the start, imaging across days, today's page
    ``bench``     what everything costs

Decisions
    * No asyncio in the session's process: the flip is a blocking call that paces everything.
    * A viewer is another process that tails the log. It can be slow, hang or die without harm.
"""

__version__ = "0.1.0"
