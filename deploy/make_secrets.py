"""Every password and key of a platform, each drawn anew, as the files that Compose hands out and `FRAUD_SECRETS_DIR` reads.

    python3 deploy/make_secrets.py [--out deploy/secrets]

Needs nothing but Python. A folder that holds anything is left as it is: a database keeps the password that it was made with.
"""

import argparse
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OUT = Path(__file__).parent / "secrets"
DATABASES = ("dagster", "mlflow", "decisions")


@dataclass(frozen=True)
class Places:
    """Hosts as containers know them; `make stack-test` names its own."""

    postgres_host: str = "postgres"
    redis: str = "valkey:6379"


def drawn(places: Places) -> dict[str, str]:
    """Contents by file name. Letters, digits, `-` and `_` alone, which need no quoting anywhere."""
    redis, s3_user, s3_password = password(), f"fraud-{secrets.token_hex(6)}", password()
    found = {
        "fraud_token_key": secrets.token_hex(32),
        "redis_url": f"redis://:{redis}@{places.redis}/0",
        "valkey.conf": f"requirepass {redis}",
        "postgres_password": password(),
        "minio_root_user": s3_user,
        "minio_root_password": s3_password,
        "aws_credentials": f"[default]\naws_access_key_id = {s3_user}\naws_secret_access_key = {s3_password}",
        "grafana_admin_password": password(),
        "metrics_key": api_key(),
        "simulator_key": api_key(),
    }
    for name in DATABASES:
        found[f"postgres_{name}_password"] = password()
        found[f"pg_{name}.conf"] = (
            f"[{name}]\nhost={places.postgres_host}\nport=5432\ndbname={name}\nuser={name}\n"
            f"password={found[f'postgres_{name}_password']}"
        )
    return found


def password() -> str:
    return secrets.token_urlsafe(24)


def api_key() -> str:
    """As `python -m api keys new` makes them; `python -m api keys adopt` lets it in."""
    return f"k{secrets.token_hex(6)}.{secrets.token_urlsafe(32)}"


def write(folder: Path, found: Mapping[str, str]) -> None:
    """Containers' users differ and each must read its own, so the folder is what keeps others of this machine out."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, content in found.items():
        (folder / name).write_text(f"{content}\n")
        (folder / name).chmod(0o444)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    if out.is_dir() and any(out.iterdir()):
        sys.exit(f"{out} holds secrets already; servers were made with them. Remove it with their volumes.")
    found = drawn(Places())
    write(out, found)
    print(f"{len(found)} secrets in {out}; keep a copy where passwords are kept")


if __name__ == "__main__":
    main()
