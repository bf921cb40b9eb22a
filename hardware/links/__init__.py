"""Sockets between programs: who may talk, how large and how often, in one place.

What it is for
    The rig's command socket and the link to the microscope both stand on it.

Where to find what
    ``keys``     key files: made, listed, refused when others can read them
    ``secured``  ZeroMQ sockets with keys, bounds and an allow-list; how fast messages are taken; what is refused

Rules
    * CurveZMQ with keys on both sides; a server admits the public keys it was given and no others. Plain text only
      for a caller that says so.
    * Loopback unless the caller names another address.
    * What is refused (a stranger's key, a message too large, bytes that mean nothing, too many of them) is counted,
      and told at most once a second. It never raises in who serves the socket.
    * A socket belongs to one thread.
    * What is not bounded: how many frames a message has. libzmq bounds each, and has no option for their number, so
      whoever holds an admitted key, or reaches a socket in plain text, can still fill this computer's memory.
"""
