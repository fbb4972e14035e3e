"""`python -m deploy.local.bad_candidate`: a model that has learnt the opposite, for a rollout that has to be halted.

From the newest training set with every label turned round. It is a sound artifact, with hashes and golden vectors, and is neither
registered nor noted as any day's model: only a person who names it can try it. Prints its version.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import install_artifact
from fraud_assets.models.manifest import MANIFEST_FILE
from fraud_assets.settings import Settings
from fraud_assets.stores.files import beside
from fraud_assets.training import store
from fraud_assets.training.run import train
from fraud_assets.training.split import SplitKind
from fraud_assets.training.threshold import costs_of
from fraud_assets.training.tune import Budget


def make(settings: Settings) -> str:
    """The version. Raises FileNotFoundError if nothing was trained yet."""
    root = beside(settings.lake_uri, "training")
    as_of = store.days(root)[-1]
    found = store.load(root, as_of)
    with tempfile.TemporaryDirectory(prefix="bad-candidate-") as elsewhere:
        trained = train(
            replace(found, is_fraud=~found.is_fraud),
            ServicePlan(EnginePlan(registry()), FRAUD_SCORING),
            Path(elsewhere),
            as_of,
            settings.label_delay_days,
            Budget(0, settings.tuning_timeout_s),
            settings.exchange_rates,
            costs_of(settings),
            # At random: of the newest part alone nearly all may be of one kind.
            split_kind=SplitKind.STRATIFIED,
        )
        folder = Path(elsewhere) / trained.manifest.model_version
        files = {name: (folder / name).read_bytes() for name in trained.manifest.files}
        return install_artifact(settings.model_dir, (folder / MANIFEST_FILE).read_bytes(), files).version


if __name__ == "__main__":
    print(make(Settings()))
