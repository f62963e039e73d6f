"""The cloud that clients talk to."""

from clouds import running

__all__ = ["running"]
