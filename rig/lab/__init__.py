"""The laboratory: what happens between sessions, in one database for every rig.

What it is for
    ``lab``         what a rig asks of the laboratory: ``Lab``, its few verbs, and their errors
    ``rows``        the facts: mice, weights, water, starts, sessions, decisions, overrides, notes, calibrations, rigs,
                    imaging; one frozen value a row
    ``leases``      one mouse, one rig: who has a mouse, and since when; the heartbeat
    ``reconcile``   two databases of facts made equal, by inserting into each what it lacks
    ``store``       one database: rows in, rows out, every wait with an end
    ``tables``      the facts as tables; ``migrations`` and ``migrate`` make and renew them

Rules
    * Facts are rows that nothing changes: a mistake is corrected by a new row that names the one it corrects, and both
      stay. The databases refuse to update or delete a fact themselves. Only leases change.
    * A row that must not be there twice has an identity that follows from what it says (the water of a session is the
      session's), so that whoever is interrupted may do it again. The same identity with another content is refused.
    * Each rig writes into a file of its own first and reads from it; what the laboratory lacks is inserted there when
      it can be reached, and the other way round. Nothing notes what was sent: what is missing is found by comparing, so
      that a database restored from an old copy is made whole by its rigs.
    * Only leases, and with them the first start of a day, need the laboratory's database: they are agreed on nowhere
      else, and by its clock alone.
    * Every call on a database has an end: a dead or frozen one is named within seconds.
    * A session's own process touches no database: hearts beat and rigs reconcile in the one that watches it.

Decisions
    * SQLite for a laboratory of one rig, without any server; PostgreSQL by its URL for several. The same tables, the
      same tests.
    * No foreign keys: rows arrive in any order, from rigs that were away. Rows name each other by identity.
    * Instants are text (ISO 8601, UTC, microseconds) and days ``YYYY-MM-DD`` of the laboratory, so that both engines
      give back exactly what was written. Each row carries the hash of its content: a changed one is not believed.
"""
