"""`python -m fraud_assets.models verify MODEL_DIR [VERSION MANIFEST_SHA256]`: are these files a sound model?

Without a version, the champion's.

Exit 0: yes. 3: no, and the last line of standard error says why. The scorer runs it as the child that
parses a new model first.
"""

import sys
from pathlib import Path

from fraud_assets.models.artifact import CHILD_REFUSED, Champion, open_artifact, read_champion
from fraud_assets.models.manifest import RefusedModel
from fraud_assets.models.served import ServedModel

USAGE = 2


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 4) or arguments[0] != "verify":
        print(__doc__, file=sys.stderr)
        return USAGE
    try:
        model = _verified(Path(arguments[1]), *arguments[2:])
    except RefusedModel as refused:
        print(refused, file=sys.stderr)
        return CHILD_REFUSED
    print(f"{model.version}: {len(model.trees.roots)} trees, {len(model.manifest.golden.scores)} golden vectors agree")
    return 0


def _verified(model_dir: Path, version: str = "", manifest_sha256: str = "") -> ServedModel:
    champion = Champion(version, manifest_sha256) if version else read_champion(model_dir)
    if champion is None:
        raise RefusedModel("no_champion", f"{model_dir} has no champion file")
    artifact = open_artifact(model_dir, champion)
    return ServedModel.build(artifact.manifest, artifact.model_json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
