"""Makes a bucket."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pixyproxy.core.exceptions import ObjectNotFoundError
from pixyproxy.storage.s3.errors import s3_errors

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def create_bucket(client: "S3Client", bucket: str, *, region: str) -> bool:
    """Make the bucket unless it exists; whether it was made. Blocks; raises our errors."""
    try:
        with s3_errors():
            client.head_bucket(Bucket=bucket)
    except ObjectNotFoundError:
        with s3_errors():
            return _create(client, bucket, region=region)
    return False


def _create(client: "S3Client", bucket: str, *, region: str) -> bool:
    try:
        if region == "us-east-1":  # S3 refuses this region as a LocationConstraint
            client.create_bucket(Bucket=bucket)
        else:
            client.create_bucket(
                Bucket=bucket,
                CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]
            )
    except ClientError as error:
        if error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou":  # another process was faster
            return False
        raise
    return True
