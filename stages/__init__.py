"""The task itself: a pure, deterministic core.

What it is for
    Given what arrived (licks, rewards fired, commands, faults) and where the refresh stands, say
    what to show next, what to arm or deliver, and what happened. Nothing here opens a device, a
    window, a file or a socket, reads a clock or starts a thread; an import contract keeps it so.

Rules
    * One call, ``Task.step(at, inputs) -> Outputs``, may be made after every flip or only when
      something is due: the answers are the same (tested refresh by refresh).
    * Every input and every decision is an event of ``stages.events``; feeding the logged inputs
      to a new task gives the logged decisions, byte for byte.
    * Order within one refresh: time-out expiry, trial end, flash onset, trial start, licks,
      window close. A trial may start on the refresh its predecessor ended; a lick on the change
      flip counts after the change.
    * Cadence is counted in refreshes; response windows are judged in seconds, on the lick's own
      time stamp against the change flip's.
    * Water is armed, not poured: the task says which lick would be paid and learns whether it was.

Where to find a rule
    ``parameters``  what a stage is made of, its bounds and cross-field checks
    ``timing``      seconds to whole refreshes
    ``cadence``     when a flash comes on and goes off; pauses keep the grid
    ``draws``       change times, catch trials, the image walk, repeats after aborts, auto rewards
    ``omissions``   which flashes may be left out
    ``sweep``       a stage without trials: patches in random order, in the task's place
    ``trial``       the automaton of one trial: phases, table of transitions
    ``rewards``     the ledger: at most one task reward a trial
    ``session``     blocks, pause, stop, limits, commands, faults and their policies
    ``task``        one step: the order of all these within a refresh
    ``dry``         the task without a rig: for figures, distributions, recordings
    ``metrics``     rates and d-prime
    ``history``     what decisions take of a session
    ``experience``  prior exposures and experience level

Where to find why a mouse gets a stage
    ``history``     what is taken of a session; ``misfits``: histories that nothing may rest on
    ``criteria``    when a mouse may move on; ``judgement``: what a criterion found
    ``curriculum``  stages in order and transitions with criteria as data, checked
    ``decisions``   from all of a mouse's sessions to its next stage; ``considered``: the sentence

Decisions
    * Times and random numbers are arguments (``RandomStreams``: one named stream a purpose), so a
      session is a function of its parameters, its seed and its inputs.
    * A decision that a device must carry out (arm, pulse, move the spout) is the very event that
      is logged, so what was decided and what was asked of the device can't differ.
    * No asyncio and no generators: the state of a trial is a small object that can be printed.
"""
