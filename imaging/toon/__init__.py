"""The drawn source: whole scenes with cartoon faces and planted faults, each with its truth."""

from imaging.toon.faults import FAULTS, ToonPicture, ToonTruth, draw_picture
from imaging.toon.scene import ToonConfig, ToonFace

__all__ = ["DRAWING", "FAULTS", "ToonConfig", "ToonFace", "ToonPicture", "ToonTruth", "draw_picture"]

# Raised when the same seed draws another picture than before, so that pictures drawn earlier are not taken for it.
DRAWING = 1
