"""The clouds that hostile input is tried on."""

from real_cloud import real

__all__ = ["real"]
