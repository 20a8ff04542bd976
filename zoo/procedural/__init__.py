"""Pictures drawn by rules, whose truth is known exactly."""

from .captions import asserted, claims_hold
from .colours import COLOURS
from .dataset import Prompt, make, prompts
from .draw import draw
from .specs import VALUES, Bird, Flower, attributes, is_held_out, label, sample, species

__all__ = [
    "COLOURS",
    "VALUES",
    "Bird",
    "Flower",
    "Prompt",
    "asserted",
    "attributes",
    "claims_hold",
    "draw",
    "is_held_out",
    "label",
    "make",
    "prompts",
    "sample",
    "species",
]
