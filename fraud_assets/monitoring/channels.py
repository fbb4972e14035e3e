"""Where news goes, by Apprise: one URL is a webhook, a mailbox, a phone, Slack, PagerDuty or one of a hundred other services."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import apprise

if TYPE_CHECKING:  # the notifier sends through here too, and has nothing to do with rollouts
    from fraud_assets.monitoring.alerts import Alert, Sends

# What speaks to a machine gets fields; all else gets a text for a person.
_MACHINES = ("json", "jsons", "form", "forms", "xml", "xmls")
ID_HEADER = "Idempotency-Key"

# It logs what it could not send, with parts of the URL; we say it ourselves, without.
logging.getLogger("apprise").setLevel(logging.CRITICAL)


def settings_of(about: str) -> apprise.AppriseAsset:
    """about: what the news is of, which some services show beside it."""
    return apprise.AppriseAsset(async_mode=False, app_id="fraud-assets", app_desc=about, app_url="")


def is_known(url: str) -> bool:
    """Whether Apprise knows what to do with it."""
    return apprise.Apprise.instantiate(url) is not None


def send(
    url: str,
    title: str,
    fields: Mapping[str, str],
    *,
    news_id: str,
    kind: apprise.NotifyType,
    about: apprise.AppriseAsset,
) -> bool:
    """Whether it was taken: asked once. news_id: the same each time that this is told again."""
    sender = apprise.Apprise(asset=about)
    sender.add(_with_fields(url, fields, news_id))
    body = "\n".join(f"{name}: {value}" for name, value in fields.items())
    return bool(sender.notify(body=body, title=title, notify_type=kind))


def alert_channel(url: str) -> "Sends":
    """What takes alerts at a URL; one that Apprise does not know takes none, so that they wait until it is put right."""
    about = settings_of("Fraud platform")

    def takes(alert: "Alert") -> bool:
        fields = {**alert.fields, "alert_id": alert.id}
        return send(url, alert.title, fields, news_id=alert.id, kind=apprise.NotifyType.FAILURE, about=about)

    return takes


def _with_fields(url: str, fields: Mapping[str, str], news_id: str) -> str:
    """The URL of a webhook, with each field in what is posted and the id as a header too."""
    if url.partition("://")[0].lower() not in _MACHINES:
        return url
    added = [f":{name}={quote(value, safe='')}" for name, value in fields.items()]
    return f"{url}{'&' if '?' in url else '?'}{'&'.join([*added, f'+{ID_HEADER}={news_id}'])}"
