"""Frames -> face tracks: detection, linking over time, cropping."""

from unmask.faces.crop import crop_face
from unmask.faces.cuts import CutFinder
from unmask.faces.mtcnn import MTCNN, Face
from unmask.faces.search import FaceFinder, Sighting
from unmask.faces.tracks import FaceCrop, FaceTrack, Tracker

__all__ = [
    "MTCNN",
    "CutFinder",
    "Face",
    "FaceCrop",
    "FaceFinder",
    "FaceTrack",
    "Sighting",
    "Tracker",
    "crop_face",
]
