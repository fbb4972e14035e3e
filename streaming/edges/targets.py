"""Targets of notifications, by Apprise: one URL is a webhook, a mailbox, a phone or one of a hundred services."""

from collections.abc import Callable
from typing import Any

import apprise
from tenacity import RetryError, Retrying, retry_if_result, stop_after_attempt, wait_exponential_jitter

from fraud_assets.monitoring.channels import is_known, send, settings_of
from streaming.core.notices import BadRules, Notice, Rules, Target

_LONGEST_PAUSE_S = 10.0
_ABOUT = settings_of("Fraud decisions")


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
            if not is_known(url):
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
        url, kind = self._urls[notice.target], apprise.NotifyType.WARNING
        return send(url, notice.title, notice.fields, news_id=notice.id, kind=kind, about=_ABOUT)
