"""Named random streams: one seed, one independent generator for each purpose.

A new purpose never shifts the numbers of another, so a session keeps its change times when, say,
the model mouse learns to run.
"""

from __future__ import annotations

import zlib

import numpy as np


class RandomStreams:
    """Independent generators derived from one seed by the name of their purpose."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, purpose: str) -> np.random.Generator:
        """Return a fresh generator for ``purpose``; the same seed and name give the same numbers."""
        key = zlib.crc32(purpose.encode())
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(key,))))
