"""`python -m fraud_assets.models verify MODEL_DIR [VERSION MANIFEST_SHA256]`: are these files a sound model?

Without a version, the champion's. Exit 0: yes. 3: no, and the last line of standard error says why.

`python -m fraud_assets.models serve`: the scorer's child (fraud_assets/models/verifier.py), a question and a
verdict a line until its standard input ends.
"""

import sys
from pathlib import Path

import msgspec

from fraud_assets.models.artifact import Champion, open_artifact, read_champion
from fraud_assets.models.manifest import RefusedModel
from fraud_assets.models.served import ServedModel
from fraud_assets.models.verifier import Question, Verdict

USAGE, REFUSED = 2, 3


def main(arguments: list[str]) -> int:
    if arguments == ["serve"]:
        return _serve()
    if len(arguments) not in (2, 4) or arguments[0] != "verify":
        print(__doc__, file=sys.stderr)
        return USAGE
    try:
        model = _verified(Path(arguments[1]), *arguments[2:])
    except RefusedModel as refused:
        print(refused, file=sys.stderr)
        return REFUSED
    print(f"{model.version}: {len(model.trees.roots)} trees, {len(model.manifest.golden.scores)} golden vectors agree")
    return 0


def _serve() -> int:
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=Question)
        try:
            _verified(Path(asked.model_dir), asked.version, asked.manifest_sha256)
            verdict = Verdict()
        except RefusedModel as refused:
            verdict = Verdict(refused.reason, refused.detail)
        sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def _verified(model_dir: Path, version: str = "", manifest_sha256: str = "") -> ServedModel:
    champion = Champion(version, manifest_sha256) if version else read_champion(model_dir)
    if champion is None:
        raise RefusedModel("no_champion", f"{model_dir} has no champion file")
    artifact = open_artifact(model_dir, champion)
    return ServedModel.build(artifact.manifest, artifact.model_json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
