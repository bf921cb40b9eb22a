"""The session as one NWB file: what a laboratory keeps, and what AllenSDK's ``BehaviorSession`` opens.

What it is for
    A session recorded here opens in AllenSDK the same evening, passes the archive's inspector, and lacks nothing that
    the log holds. The file is derived: it can be made again from the session's folder at any time, and a bug in it is
    mended by exporting again.

Rules
    * Two clocks. Times in the file are session time: seconds since the first flip, on the card's clock where there is
      one. ``change_time`` of trials and start and stop of presentations are display times: session time plus the
      monitor's delay. Nothing else holds the delay.
    * The delay is a value with an origin, ``measured`` (by the session's photodiode, with its spread) or ``nominal``
      (the rig's file), and the file says which.
    * Tables first, file second: ``tables`` and ``running`` make plain columns and know no NWB; ``sections`` only puts
      columns where readers look for them. The tables are those of ``rig.records``, in AllenSDK's words.
    * Tables that contradict the log are refused with the trial's name (``checks``); what is odd but possible is
      written, and named in ``provenance``.
    * The file has its name only when it is whole: it is written beside it and renamed.
    * The log is in it, line by line, with the flips and the card's edges.

What AllenSDK 2.16.2 reads, and where
    ==================================================  =======================================================
    ``general/subject``                                 a subtype of Subject with ``driver_line``, ``reporter_line``
    ``general/metadata``, ``general/task_parameters``   attributes of two LabMetaData, by these names
    ``processing/stimulus/timestamps``                  the flips, without the monitor's delay
    ``processing/running/{speed,speed_unfiltered,dx}``  and ``acquisition/{v_sig,v_in}``, one value a flip
    ``processing/licking/licks``                        absent without licks
    ``processing/rewards/{volume,autorewarded}``        absent without rewards
    ``intervals/trials``                                one row a trial that came to its end
    ``intervals/*_presentations``                       one table a kind of stimulus; all joined by their start
    ``stimulus/templates``                              what was on the screen, warped and unwarped; optional
    ==================================================  =======================================================

    Imaging pipelines find ``acquisition/ophys_frame_times`` (2-photon frames since the trigger, ``control`` their plane
    group, ``comments`` what the microscope said) and ``acquisition/stim_photodiode`` (its level from each edge on).

Decisions
    * An extension namespace of our own, with type names of our own. AllenSDK asks for attributes, never for types; its
      own namespace is not published, may not be redistributed, and two types of one name make it fail.
    * Trials that a stop or a crash cut short are not in ``trials``: AllenSDK knows no such outcome and would count them
      as trials. They stand in ``intervals/cut_trials``, and their events in the log.
    * The running speed is AllenSDK's, step by step, with its cut-off of 4 Hz (its docstring says 10 Hz, its code 4), so
      that old and new sessions compare. The voltages are there for whoever wants another.
    * Lick times are the card's edges, not the flips on which they were seen; ``data`` of the series is that flip.
    * A subject's age that nobody gave is written as ``P0D``, since AllenSDK opens no file without one, and flagged.
    * Sham changes of static stages are rows of their own, with the same picture before and after.
    * Whether pictures were novel to the mouse is not in a session's log, so ``is_image_novel`` is not in the file.

Where to find what
    ``about``      what the rig can't know: the mouse's age and genes, the laboratory
    ``tables``     trials, presentations, rewards and licks in AllenSDK's words
    ``running``    from the wheel's voltages to AllenSDK's running speed
    ``checks``     what is refused, and what is flagged
    ``extension``  the namespace's types, from ``spec``
    ``templates``  the pictures as they were on the screen, drawn again
    ``sections``   one builder a section of the file
    ``export``     the file
"""

FILE = "session.nwb"
"""The file's name in the session's folder."""


class NwbError(ValueError):
    """No file is made: which session, what is wrong, how to mend it."""
