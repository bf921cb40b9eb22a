"""Everything that is made from a session's log: tables, summary, figures, the NWB file.

Rules
    * Each table is a fold: an object that is fed entries one by one and can be asked for its rows at any time.
      The same object serves the running session and the file; a test holds the two equal.
    * Folds read events only. What needs every flip (running, frame intervals, the flip on which a flash went
      off) takes the array of ``flips.bin`` besides.
    * A lick between the first trial's start and the last one's end belongs to exactly one trial: the one that
      had started last by the flip on which the lick was seen. Others belong to none.

Where to find what
    ``trials``         one row a trial
    ``presentations``  one row a flash, shown or omitted, and one a gray or movie block
    ``summary``        the session in figures and in words
    ``running``        the wheel's two voltages to speed
    ``figures``        the session in one picture
    ``card_lines``     the card's edges on session time
    ``alignment``      whether every stream can be put on one clock, and how well: a finding each
    ``monitor_delay``  how long after its flip a picture is on the screen, and who says so
    ``nwb``            the session as one file that AllenSDK opens
    ``camstim``        sessions that camstim recorded: imported, and run again through our task
    ``camstim_export`` the session as the pickle that camstim would have left
    ``finish``         products and NWB file at a session's end
    ``recover``        sessions that crashed: closed, and finished
    ``products``       all of these as files beside the log
    ``whole``          how each of these files is written
"""
