"""The running disk: what its encoder's voltages mean.

16.51 cm across (6.5 inches); the mouse runs at two thirds of its radius (TASK_FACTS 7). One turn takes the
signal from 0 V to the supply.
"""

from __future__ import annotations

RUNNING_RADIUS_CM = 5.5033
