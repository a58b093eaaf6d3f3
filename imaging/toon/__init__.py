"""The drawn source: whole scenes with cartoon faces and planted faults, each with its truth."""

from imaging.toon.faults import FAULTS, ToonPicture, ToonTruth, draw_picture
from imaging.toon.scene import ToonConfig, ToonFace

__all__ = ["FAULTS", "ToonConfig", "ToonFace", "ToonPicture", "ToonTruth", "draw_picture"]
