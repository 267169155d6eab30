"""Frames -> face tracks: detection, linking over time, cropping."""

from unmask.faces.crop import crop_face
from unmask.faces.mtcnn import MTCNN, Face
from unmask.faces.tracks import FaceTrack, Tracker

__all__ = ["MTCNN", "Face", "FaceTrack", "Tracker", "crop_face"]
