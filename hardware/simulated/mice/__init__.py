"""Model mice: told what they see and when they drink, they say when they will lick and how they run.

    ``protocol``    what a simulated rig asks of a mouse
    ``parameters``  a mouse's temperament, and the parameters of one session that follow from it
    ``stochastic``  licking drawn flash by flash from these parameters
    ``running``     bouts of running and rests, slower while the mouse drinks
    ``simple``      mice whose answers are known beforehand: perfect, late, never, always, scripted
    ``kinds``       which mice there are, and how each is made

A mouse draws lick *times*, never a chance per refresh, so that a session can jump to the next lick. Host
times throughout, but for the distance run, which counts from the first flip.
"""

from hardware.simulated.mice.kinds import MouseKind, Setting, make_mouse
from hardware.simulated.mice.parameters import TRAINED_SESSIONS, SessionParameters, Temperament
from hardware.simulated.mice.protocol import GRAY_IDENTITY, MOVIE_IDENTITY, ModelMouse
from hardware.simulated.mice.simple import ScriptedMouse
from hardware.simulated.mice.stochastic import StochasticMouse

__all__ = [
    "GRAY_IDENTITY",
    "MOVIE_IDENTITY",
    "TRAINED_SESSIONS",
    "ModelMouse",
    "MouseKind",
    "ScriptedMouse",
    "SessionParameters",
    "Setting",
    "StochasticMouse",
    "Temperament",
    "make_mouse",
]
