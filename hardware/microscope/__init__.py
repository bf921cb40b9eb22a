"""The link to a 2-photon microscope: the protocol on one page, version 1, for both ends.

It only commands. What aligns the recording are wires: the microscope waits for the trigger line and gives a pulse with
every frame, one edge for each plane group by turns.

Transport
    ZeroMQ over TCP. The microscope's computer binds a ROUTER, the rig connects a DEALER. CurveZMQ with keys on both
    sides (``rig keys``): the rig knows the microscope's public key, the microscope lists the rigs' that may command.
    One message is one frame: a JSON object in UTF-8, at most 65,536 bytes. Its ``type`` says which; ``v`` is 1. Unknown
    fields are passed over; a message that is missing one, or has one out of bounds, is dropped.

Rig to microscope
    hello    id, who, heartbeat_s, resumes      Who are you? ``resumes``: the epoch this rig had until now, or null.
    command  id, epoch, verb, session, sent_at_s, expires_at_s, recording
             ``verb``: prepare, arm, start, stop, abort, status. ``recording`` with prepare, else null: session, mouse,
             stage, plane_groups, frame_rate_hz (of each plane).
    beat     epoch, n, sent_at_s                Every ``heartbeat_s``; the first eight close together.
    goodbye  epoch                              The session has ended.

Microscope to rig
    welcome  id, epoch, run, now_s, name, model, serial, software, phase      Answers hello.
    reply    id, stage, what, phase, at_s       ``stage``: acknowledged as a command arrives, then done or refused as it
             has been carried out or not, with ``what`` as a sentence; stale if its epoch is over. A hello may be
             refused. ``id`` is the command's or hello's; of what is stale its epoch; ? of bytes that are no message.
    beatback epoch, n, sent_at_s, received_at_s, answered_at_s                At once, to every beat.
    status   epoch, phase, session, n_frames, plane_groups, rate_hz, files, warnings, at_s
             Every half second, and before each reply that says done. ``phase``: idle, prepared, armed, acquiring,
             stopped, failed. ``session``: the one that was prepared last, null before. ``n_frames`` counts edges on the
             frame line, null where nobody does; ``rate_hz`` is that of each plane, null where it is not known;
             ``warnings`` are sentences for the operator.

Bounds
    ``id``, ``epoch``, ``run``, ``session``: 1 to 64 printable ASCII characters without a space. Other texts, and each
    of ``files`` and ``warnings``: 400 characters; 64 files and 64 warnings. ``plane_groups``: 1 to 64. ``rate_hz`` and
    ``frame_rate_hz``: above 0, 100,000 at most. ``n`` and ``n_frames``: whole, 0 to 2**53. Times: 1e12 either way.
    ``heartbeat_s``: 0.01 to 60.

Times
    Seconds of either side's own steady clock, whose zero means nothing to the other. ``sent_at_s`` is the rig's;
    ``expires_at_s``, ``now_s``, ``received_at_s``, ``answered_at_s`` and ``at_s`` are the microscope's. Of beat and
    beatback the rig learns how far the clocks are apart, to half a round trip.

When a command is carried out
    1. Its epoch is the one in force, and it comes over the connection that this was given to. A hello is given a new
       epoch; it comes into force with the first message under it, if no other rig has been heard of of late, or if the
       hello named the epoch in force as the one that it resumes. From that hello on the old connection is stale.
    2. Its id is new. An id that was answered is answered the same again, over any connection, and not carried out.
    3. Its time, ``expires_at_s``, has not come: neither as it arrives nor as its turn does. 60 s ahead at most. A stop,
       an abort and a status that were acknowledged are carried out however late their turn comes.
    4. It fits: arm after prepare, start after arm, with the session that was prepared. Status always; stop and abort
       too, but for a recording that people have begun at the microscope: no rig ends it.
    A start is never carried out while it acquires; if its trigger came first, a start is answered "acquires already".
    A session may be prepared again when its recording has been stopped: it is another part of it, in files of its own.
    Commands are carried out one after the other.

What the rig does
    One command at a time. It is sent again under its id until it is acknowledged, over a new connection too, unless
    ``run`` says that the microscope's program is another one by now. ``expires_at_s`` is reckoned from the last time of
    the microscope's clock that the rig has received, which is the past: so it has come when the rig stops waiting, and
    a command that was given up before it was acknowledged is never carried out.

When the other side is gone
    Six heartbeats without a message. The microscope then stops what the rig had set going, as it does at goodbye, and
    says so in its warnings; the rig says so in its log, lets its policy decide, and says hello until it is answered.

Where to find what
    ``messages``   bytes to typed messages and back
    ``receiver``   the microscope's rules, without IO
    ``server``     the same behind a socket, to be embedded: ``MicroscopeServer(instrument, ...)``
    ``adapters``   two instruments: one raises a trigger line, one runs command lines
    ``commander``  the rig's rules, without IO
    ``client``     the same behind a socket: the rig's ``Microscope``

Decisions
    * No PUB and SUB: what is lost or comes late there is lost or late in silence (libzmq #2826, #4656).
    * Plain JSON, so that the other end can be written in any language in an afternoon and read off the wire.
    * Expiry by the receiver's clock and not by the sender's: nobody's clocks have to agree, and a message that some
      box in between held back for minutes is still refused.
    * A DEALER keeps what it could not send and delivers it once connected anew: a stale start. Hence epochs, hence a
      new socket after each silence.
"""
