"""Resources and their tables, transactions, secrets at rest, migrations."""

from mold.store.prepared import Among, Prepared
from mold.store.resource import REGISTRY, Resource, column, created, metadata, refers
from mold.store.store import Change, Store, Tx

__all__ = ["REGISTRY", "Among", "Change", "Prepared", "Resource", "Store", "Tx", "column", "created", "metadata", "refers"]
