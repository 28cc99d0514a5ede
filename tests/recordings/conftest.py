"""The fixtures of these tests."""

from tests.helpers.bucket import bucket, s3_server

__all__ = ["bucket", "s3_server"]
