"""Two databases of facts made equal, by inserting into each what it lacks.

Nothing is noted of what was sent before: identities are compared, so that it may be broken off anywhere, done twice or
by two at once, and fills a database that was restored from an old copy. A row that one of the two refuses is named and
left; it keeps no other from arriving.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from rig.lab.errors import LabError, LaboratoryAway
from rig.lab.rows import FACTS, Fact
from rig.lab.store import BATCH, Store


class Reconciled(msgspec.Struct, frozen=True):
    """What came of it."""

    sent: int
    """Rows that the laboratory lacked."""
    received: int
    """Rows that this rig lacked."""
    refused: tuple[str, ...] = ()
    """A sentence for each row that could not be taken over, or that the two have with different contents."""


def reconcile(here: Store, laboratory: Store) -> Reconciled:
    """Insert into each database what it lacks of the other.

    Raises
    ------
    LaboratoryAway
        What has been inserted so far stays.
    LabError
        One of the two can't be used at all.
    """
    ours, theirs = here.contents(), laboratory.contents()
    sent = received = 0
    refused: list[str] = []
    for kind in FACTS:
        refused.extend(
            f"row {identity} of {kind.table} is one thing in {here.name} and another in {laboratory.name}: look at "
            "both, and correct the wrong one by a new row"
            for identity in sorted(ours[kind].keys() & theirs[kind].keys())
            if ours[kind][identity] != theirs[kind][identity]
        )
        sent += _copy(kind, sorted(ours[kind].keys() - theirs[kind].keys()), here, laboratory, refused)
        received += _copy(kind, sorted(theirs[kind].keys() - ours[kind].keys()), laboratory, here, refused)
    return Reconciled(sent, received, tuple(refused))


def _copy(kind: type[Fact], identities: Sequence[str], source: Store, target: Store, refused: list[str]) -> int:
    n_copied = 0
    for first in range(0, len(identities), BATCH):
        batch = identities[first : first + BATCH]
        try:
            target.insert(source.by_identity(kind, batch))
            n_copied += len(batch)
        except LaboratoryAway:
            raise
        except LabError as error:
            if len(batch) == 1:
                refused.append(str(error))
            else:
                n_copied += sum(_copy(kind, [identity], source, target, refused) for identity in batch)
    return n_copied


class Reconciler:
    """Reconciles again and again in a thread, while a session runs; what goes wrong is said, never raised.

    Parameters
    ----------
    reconcile
        Does it once.
    every_s
        Pause between two times.
    """

    def __init__(self, reconcile: Callable[[], Reconciled], *, every_s: float) -> None:
        self.trouble: str | None = None
        """Why the last attempt failed; None if it did not."""
        self.last: Reconciled | None = None
        """What the last one that succeeded did."""
        self._reconcile = reconcile
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; waits for an attempt under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.last = self._reconcile()
                self.trouble = None
            except LabError as error:
                self.trouble = str(error)
