"""Who writes a log holds it: one lock a file, which others can ask for without waiting.

Decisions
    * The lock is the system's own and lies on the open file: it goes when the file is closed or its process dies,
      however it dies. No file is left behind that somebody must clear away.
    * It is advisory: whoever only reads asks nobody. Windows knows no such lock, so there one byte is locked far behind
      the end of any log, where nobody reads.
    * A file system may have no locks (some network drives). There everybody gets it, and what is left is the time at
      which the files were last written.
"""

from __future__ import annotations

import errno
import os
import sys

_FAR = 2**31 - 2
"""Where Windows locks: behind every log, and within what its C library can seek to."""
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK}
"""What systems answer when somebody else holds a lock; any other answer is from one without locks."""


def hold(fd: int) -> bool:
    """Take the lock of a file that is open for writing; return False if somebody else holds it.

    Held until ``fd`` is closed. Where the file system has no locks, it is had for the asking.
    """
    try:
        _lock(fd)
    except OSError as error:
        return error.errno not in _HELD
    return True


if sys.platform == "win32":

    def _lock(fd: int) -> None:
        import msvcrt  # noqa: PLC0415 - only Windows has it

        before = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, _FAR, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(fd, before, os.SEEK_SET)

else:

    def _lock(fd: int) -> None:
        import fcntl  # noqa: PLC0415 - Windows does not have it

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
