"""Entities and sources of the ticketing domain."""

from fraud_assets.contracts import topics
from fraud_assets.contracts.events import Activity, LabelFact, Profile, Transaction
from fraud_assets.features.sources import Entity, LabelFactSource, ProfileSource, StreamSource

ACCOUNT = Entity("account", ("account_id",))
DEVICE = Entity("device", ("device_id",))
IP = Entity("ip", ("ip_token",))
CARD = Entity("card", ("card_token",))
EVENT = Entity("event", ("event_id",))
PROMOTER = Entity("promoter", ("promoter_id",))
CATEGORY = Entity("category", ("category",))
ACCOUNT_DEVICE = Entity("account_device", ("account_id", "device_id"))
ACCOUNT_EVENT = Entity("account_event", ("account_id", "event_id"))
ACCOUNT_CARD = Entity("account_card", ("account_id", "card_token"))

TRANSACTIONS = StreamSource(
    name="transactions",
    noun="txn",
    contract=Transaction,
    id_field="transaction_id",
    table="transactions",
    topic=topics.TRANSACTIONS.name,
    plurals=(
        ("ip_token", "ips"),
        ("category", "categories"),
        ("billing_country", "billing_countries"),
        ("ip_country", "ip_countries"),
    ),
)
ACTIVITY = StreamSource(
    name="activity",
    noun="activity",
    contract=Activity,
    id_field="activity_id",
    table="activity",
    topic=topics.ACTIVITY.name,
)
PROFILES = ProfileSource(
    name="profiles",
    noun="profile",
    contract=Profile,
    id_field="profile_id",
    table="profiles",
    topic=topics.PROFILES.name,
)
LABEL_FACTS = LabelFactSource(
    name="label_facts",
    noun="label",
    contract=LabelFact,
    id_field="fact_id",
    table="label_facts",
    topic=topics.LABEL_FACTS.name,
)
