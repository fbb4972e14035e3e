"""Targets of notifications, by Apprise: one URL is a webhook, a mailbox, a phone or one of a hundred services."""

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import apprise
from tenacity import RetryError, Retrying, retry_if_result, stop_after_attempt, wait_exponential_jitter

from streaming.core.notices import BadRules, Notice, Rules, Target

# What speaks to a machine gets fields; all else gets a text for a person.
_MACHINES = ("json", "jsons", "form", "forms", "xml", "xmls")
_LONGEST_PAUSE_S = 10.0
ID_HEADER = "Idempotency-Key"

# It logs what it could not send, with parts of the URL; we say it ourselves, without.
logging.getLogger("apprise").setLevel(logging.CRITICAL)
_SETTINGS = apprise.AppriseAsset(async_mode=False, app_id="fraud-assets", app_desc="Fraud decisions", app_url="")


class Undeliverable(RuntimeError):
    """A target did not take a notice, however often it was asked; the message names it without its URL."""


class Targets:
    """Delivers to the URLs of some rules. Raises BadRules for a URL that is none. Methods may be called by several threads."""

    def __init__(
        self, rules: Rules, attempts: int, first_pause_s: float, sleep: Callable[[float], Any] | None = None
    ) -> None:
        self._urls = {Target(rule.name, place): url for rule in rules.notify for place, url in enumerate(rule.urls)}
        self._attempts = attempts
        self._retrying: dict[str, Any] = {
            "stop": stop_after_attempt(attempts),
            "wait": wait_exponential_jitter(multiplier=first_pause_s, max=_LONGEST_PAUSE_S, jitter=first_pause_s),
            "retry": retry_if_result(lambda is_taken: not is_taken),
        } | ({"sleep": sleep} if sleep else {})
        for target, url in self._urls.items():
            if apprise.Apprise.instantiate(url, asset=_SETTINGS) is None:
                raise BadRules(
                    f"BadRules: url {target.place} of {target.rule} is none that Apprise knows; see its wiki."
                )

    def deliver(self, notice: Notice) -> None:
        """Return once the target has taken it. Raises Undeliverable after the last attempt."""
        try:
            Retrying(**self._retrying)(self._sent, notice)
        except RetryError:
            raise Undeliverable(f"{notice.target} did not take it, asked {self._attempts} times") from None

    def _sent(self, notice: Notice) -> bool:
        sender = apprise.Apprise(asset=_SETTINGS)
        sender.add(_with_fields(self._urls[notice.target], notice))
        return bool(sender.notify(body=notice.body, title=notice.title, notify_type=apprise.NotifyType.WARNING))


def _with_fields(url: str, notice: Notice) -> str:
    """The URL of a webhook, with each field in what is posted and the id as a header too."""
    if url.partition("://")[0].lower() not in _MACHINES:
        return url
    added = [f":{name}={quote(value, safe='')}" for name, value in notice.fields.items()]
    return f"{url}{'&' if '?' in url else '?'}{'&'.join([*added, f'+{ID_HEADER}={notice.id}'])}"
