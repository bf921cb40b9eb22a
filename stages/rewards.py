"""The ledger of water: armed or commanded, fired, confirmed, how much.

At most one task reward a trial, by construction: a trial asks once, and the ledger refuses a second.
What was given is counted when the valve opened; a pulse without echo counts too, since it may have
flowed, and says so by an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stages.events import (
    RewardArmed,
    RewardCommanded,
    RewardConfirmed,
    RewardDisarmed,
    RewardFailed,
    RewardFired,
    RewardKind,
)

RewardResult = RewardDisarmed | RewardFired | RewardConfirmed | RewardFailed
"""What a device says of a reward; in the order it says it."""


class SecondRewardInTrial(RuntimeError):
    """The task tried to give a second reward in one trial: an error of this program."""


@dataclass(slots=True)
class Ledger:
    """Every reward of the session so far."""

    dispensed_ul: float = 0.0
    n_confirmed: int = 0
    _volumes_ul: dict[int, float] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _flowing: set[int] = field(default_factory=set)
    _last_trial: int = -1

    @property
    def committed_ul(self) -> float:
        """What was given, and what is armed or commanded and may still be given."""
        return self.dispensed_ul + sum(self._volumes_ul[reward] for reward in self._open)

    @property
    def flowing(self) -> bool:
        """Whether a pulse was asked for or has begun that is not known to be over: the valve is taken."""
        return bool(self._flowing)

    def arm(self, *, trial: int, volume_ul: float, opens_s: float, closes_s: float) -> RewardArmed:
        """Return the order to pay the first lick between the two session times."""
        return RewardArmed(
            reward=self._enter(trial, volume_ul), trial=trial, volume_ul=volume_ul, opens_s=opens_s, closes_s=closes_s
        )

    def command(self, *, kind: RewardKind, trial: int, volume_ul: float) -> RewardCommanded:
        """Return the order to give water now; ``trial`` is -1 for the operator's free reward."""
        reward = self._enter(trial, volume_ul)
        self._flowing.add(reward)
        return RewardCommanded(reward=reward, kind=kind, trial=trial, volume_ul=volume_ul)

    def take(self, event: RewardResult) -> None:
        """Enter what the device says of a reward."""
        match event:
            case RewardFired(reward=reward):
                self._flowing.add(reward)
                if reward in self._open:
                    self._open.discard(reward)
                    self.dispensed_ul += self._volumes_ul.get(reward, 0.0)
            case RewardConfirmed(reward=reward):
                self._flowing.discard(reward)
                self.n_confirmed += 1
            case RewardDisarmed(reward=reward) | RewardFailed(reward=reward):
                self._flowing.discard(reward)
                self._open.discard(reward)

    def _enter(self, trial: int, volume_ul: float) -> int:
        if 0 <= trial <= self._last_trial:
            raise SecondRewardInTrial(f"trial {trial} already has its reward")
        self._last_trial = max(trial, self._last_trial)
        reward = len(self._volumes_ul)
        self._volumes_ul[reward] = volume_ul
        self._open.add(reward)
        return reward
