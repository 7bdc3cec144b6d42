"""The object store: one interface, a folder or an S3 bucket behind it."""

from parfocal_runtime.store.interface import ObjectStat, ObjectStore, Refused
from parfocal_runtime.store.local import LocalStore
from parfocal_runtime.store.opening import open_store
from parfocal_runtime.store.s3 import S3Settings, S3Store

__all__ = [
    "LocalStore",
    "ObjectStat",
    "ObjectStore",
    "Refused",
    "S3Settings",
    "S3Store",
    "open_store",
]
