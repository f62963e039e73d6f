"""The cloud that clients talk to."""

from clients_cloud import running

__all__ = ["running"]
