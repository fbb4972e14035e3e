"""Makes the bucket of the lake where there is none yet: `python -m deploy.bucket`. At a cloud, a bucket is made by who pays for it."""

import pyarrow.fs as pafs

from fraud_assets.settings import Settings, read_settings


def ensure_bucket(lake_uri: str) -> str:
    """The bucket of an `s3://` address, which is there afterwards. Raises OSError."""
    bucket = lake_uri.removeprefix("s3://").partition("/")[0]
    # A bucket that is there is left alone; the parameter only allows what it would refuse.
    store, _ = pafs.FileSystem.from_uri(f"s3://{bucket}?allow_bucket_creation=true")
    store.create_dir(bucket)
    return bucket


def main() -> None:
    print(f"bucket {ensure_bucket(read_settings(Settings).lake_uri)} is there")


if __name__ == "__main__":
    main()
