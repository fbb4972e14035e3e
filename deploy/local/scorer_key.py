"""The key of a local stack's own scorer: made once, kept beside its state, good for everything."""

from pathlib import Path

CLIENT = "local"
RATE_PER_S = 100_000  # whoever measures here means the scorer, and not the limit of a key


def key_path(var_dir: Path) -> Path:
    """The file that holds the credential, readable by its owner only."""
    return var_dir / "api" / "key"


def keys_path(var_dir: Path) -> Path:
    """The file that the scorer reads."""
    return var_dir / "api" / "keys.json"


def ensure_key(var_dir: Path) -> str:
    """A credential that the scorer of this folder accepts; other keys in its file are left alone."""
    from api.access import Scope  # only who runs the scorer here needs its packages
    from api.keys import make_key, now_utc, read_keys, write_keys, write_private

    keys, now = read_keys(keys_path(var_dir)), now_utc()
    held = key_path(var_dir).read_text().strip() if key_path(var_dir).exists() else ""
    if any(key.id == held.partition(".")[0] and key.is_live(now) for key in keys):
        return held
    made = make_key(CLIENT, list(Scope), now, rate_per_s=RATE_PER_S)
    write_keys(keys_path(var_dir), [*keys, made.key])
    write_private(key_path(var_dir), f"{made.credential}\n".encode())
    return made.credential
