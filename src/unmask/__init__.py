"""unmask finds manipulated faces in video, says how sure it is, and says when it happens."""
__version__ = "0.1.0"
