"""Prefixes of a bucket that nobody may read, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from minio import Minio

from parfocal_runtime.store import S3Settings


@contextmanager
def closed_prefix(settings: S3Settings, uri: str) -> Iterator[None]:
    """Let nobody list or read what lies below `uri`, not even who owns the bucket."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    denied = {"Effect": "Deny", "Principal": "*"}
    reading = {**denied, "Action": "s3:GetObject", "Resource": f"{arn}/{prefix}/*"}
    listing = {
        **denied,
        "Action": "s3:ListBucket",
        "Resource": arn,
        "Condition": {"StringLike": {"s3:prefix": f"{prefix}/*"}},
    }
    client = Minio(
        settings.endpoint,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        secure=settings.secure,
    )
    policy = {"Version": "2012-10-17", "Statement": [reading, listing]}
    client.set_bucket_policy(bucket, json.dumps(policy))
    try:
        yield
    finally:
        client.delete_bucket_policy(bucket)
