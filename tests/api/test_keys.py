"""Keys come and go without a restart; what is kept of them is worth nothing to who reads it."""

import argparse
import ast
import asyncio
import hmac
import re
from datetime import timedelta
from pathlib import Path

import pytest

from api import keys_cli
from api.access import Scope
from api.keyring import KeyRing
from api.keys import BadKeys, adopt_key, end_key, make_key, now_utc, read_keys, write_keys
from api.metrics import Metrics


def ring(path: Path) -> KeyRing:
    """As a scorer has it, without the task that watches."""

    async def started() -> KeyRing:
        made = KeyRing(path, Metrics())
        made.start()
        await made.close()
        return made

    return asyncio.run(started())


def command(path: Path, *words: str) -> None:
    parser = argparse.ArgumentParser()
    keys_cli.add_to(parser.add_subparsers(dest="command"))
    keys_cli.run(parser.parse_args(["keys", *words]), path)


def test_a_key_is_long_and_the_file_does_not_hold_it(tmp_path: Path) -> None:
    made = make_key("shop", [Scope.SCORE], now_utc())
    write_keys(tmp_path / "keys.json", [made.key])

    secret = made.credential.partition(".")[2]
    assert len(secret) >= 43  # 256 bits in base64
    assert secret not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


def test_two_keys_of_a_client_are_good_until_the_old_one_is_ended(tmp_path: Path) -> None:
    """Rotation: hand out the new one, then end the old one; no payment is refused in between."""
    path = tmp_path / "keys.json"
    old, new = (make_key("shop", [Scope.SCORE], now_utc()) for _ in range(2))
    write_keys(path, [old.key])
    found = ring(path)

    write_keys(path, [old.key, new.key])
    found.refresh()
    both = [found.caller(made.credential) for made in (old, new)]
    end_key(path, old.key.id, now_utc())
    found.refresh()

    assert [caller.client for caller in both if caller] == ["shop", "shop"]
    assert found.caller(old.credential) is None
    assert found.caller(new.credential) is not None


def test_a_key_ends_at_its_time_without_anybody_doing_anything(tmp_path: Path) -> None:
    now = now_utc()
    made = make_key("shop", [Scope.SCORE], now, now + timedelta(hours=1))
    write_keys(tmp_path / "keys.json", [made.key])
    clock = [now]
    found = KeyRing(tmp_path / "keys.json", Metrics(), lambda: clock[0])
    found.refresh()

    assert found.caller(made.credential) is not None
    clock[0] = now + timedelta(hours=1)
    assert found.caller(made.credential) is None


@pytest.mark.parametrize("broken", ["{", '{"keys": [{}]}', '{"keyz": []}', '{"keys": [{"id": "../x"}]}'])
def test_a_file_that_is_none_stops_a_start_and_leaves_a_running_scorer_its_keys(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "keys.json"
    made = make_key("shop", [Scope.SCORE], now_utc())
    write_keys(path, [made.key])
    found = ring(path)

    path.write_text(broken)
    found.refresh()

    assert found.caller(made.credential) is not None
    with pytest.raises(BadKeys, match=r"keys\.json"):
        ring(path)


def test_a_file_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    """Taking it away is the emergency brake."""
    path = tmp_path / "keys.json"
    made = make_key("shop", [Scope.SCORE], now_utc())
    write_keys(path, [made.key])
    found = ring(path)

    path.unlink()
    found.refresh()

    assert found.caller(made.credential) is None


def test_two_keys_of_one_id_are_refused(tmp_path: Path) -> None:
    made = make_key("shop", [Scope.SCORE], now_utc())
    write_keys(tmp_path / "keys.json", [made.key, made.key])

    with pytest.raises(BadKeys, match="same id"):
        read_keys(tmp_path / "keys.json")


def test_the_commands_make_list_and_end_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The credential alone is on standard output, so that a shell can keep it."""
    path = tmp_path / "api" / "keys.json"

    command(path, "new", "--client", "shop", "--scope", "score", "label")
    credential = capsys.readouterr().out.strip()
    found = ring(path)
    command(path, "list")
    listed = capsys.readouterr().out
    command(path, "revoke", credential.partition(".")[0])

    caller = found.caller(credential)
    assert caller is not None and caller.scopes == {Scope.SCORE, Scope.LABEL}
    assert "shop" in listed and "score,label" in listed and credential.partition(".")[2] not in listed
    found.refresh()
    assert found.caller(credential) is None


@pytest.mark.parametrize("words", [("revoke", "k0"), ("new", "--client", "somebody@example.com", "--scope", "score")])
def test_what_cannot_be_done_ends_with_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    """An e-mail address would be in every log line."""
    with pytest.raises(SystemExit, match="BadKeys"):
        command(tmp_path / "keys.json", *words)


def test_a_key_that_is_a_secret_is_let_in_once_and_stays_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_key("elsewhere", [Scope.ADMIN], now_utc())
    (tmp_path / "prometheus").write_text(f"{made.credential}\n")
    path = tmp_path / "keys.json"
    arguments = argparse.ArgumentParser()
    keys_cli.add_to(arguments.add_subparsers(dest="command"))
    adopt = arguments.parse_args(["keys", "adopt", f"admin={tmp_path / 'prometheus'}"])

    keys_cli.run(adopt, path)
    keys_cli.run(adopt, path)

    [key] = read_keys(path)
    assert (key.client, key.scopes, key.sha256) == ("prometheus", [Scope.ADMIN], made.key.sha256)
    assert made.credential.partition(".")[2] not in path.read_text() + capsys.readouterr().out

    end_key(path, key.id, now_utc())
    keys_cli.run(adopt, path)
    assert not read_keys(path)[0].is_live(now_utc())


@pytest.mark.parametrize("credential", ["", "k1", "k1.short", "K 1." + "s" * 43])
def test_a_secret_that_is_no_key_is_not_let_in(tmp_path: Path, credential: str) -> None:
    with pytest.raises(BadKeys, match="the key of shop"):
        adopt_key(tmp_path / "keys.json", "shop", Scope.SCORE, credential, now_utc())

    assert not (tmp_path / "keys.json").exists()


def test_the_local_stack_makes_its_key_once(tmp_path: Path) -> None:
    """And another if that one is ended; keys of others stay."""
    from deploy.local.scorer_key import ensure_key, key_path, keys_path

    first = ensure_key(tmp_path)
    assert ensure_key(tmp_path) == first
    assert key_path(tmp_path).stat().st_mode & 0o077 == 0
    end_key(keys_path(tmp_path), first.partition(".")[0], now_utc())
    second = ensure_key(tmp_path)

    assert second != first
    assert len(read_keys(keys_path(tmp_path))) == 2


def test_a_secret_is_compared_once_in_constant_time_known_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by nothing else: what `compare_digest` says decides, whatever was sent."""
    made = make_key("shop", [Scope.SCORE], now_utc())
    write_keys(tmp_path / "keys.json", [made.key])
    known = ring(tmp_path / "keys.json")
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for sent in (made.credential, f"{made.key.id}.wrong", "nobody.wrong", "nobody"):
        known.caller(sent)
    assert compared == [(32, 32)] * 4

    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: False)
    assert known.caller(made.credential) is None
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: True)
    assert known.caller(f"{made.key.id}.wrong") is not None


# Nobody outside chooses either side, or it is no secret.
COMPARED_OTHERWISE = {
    "jwt_bearer.py: credential.count('.') != 2",
    "idempotency.py: held[1:1 + _MAC_BYTES] == done[1:1 + _MAC_BYTES]",
}


def test_no_secret_is_compared_by_equality(root: Path) -> None:
    """Of all that the scorer compares with ==, != or in, nothing has a name that secrets have."""
    secret = re.compile("secret|digest|mac|credential|password|sha256|signature", re.IGNORECASE)
    found = {
        f"{file.name}: {ast.unparse(node)}"
        for file in (root / "api").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Compare)
        and any(isinstance(how, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for how in node.ops)
        if secret.search(ast.unparse(node))
    }

    assert found == COMPARED_OTHERWISE
