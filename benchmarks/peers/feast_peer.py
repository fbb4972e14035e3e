"""What a user would pick instead: features in Feast's Redis store, FastAPI, XGBoost's own `inplace_predict`. Runs in the peers' environment.

    python -m benchmarks.peers.feast_peer fill FOLDER REDIS_PORT ENTITIES PAYMENTS
    python -m benchmarks.peers.feast_peer FOLDER PORT

The first makes a repository, its values in Redis, a model, and payments to ask about; the second is the service, one uvicorn worker.

Set up as the measured sketch of docs/benchmarks.md found it fastest: the feature service fetched once, the asynchronous client, no MLflow wrapper
around the model, one thread for one row. Features are given, 6 views of 56 floats and 4 of the request; whoever uses Feast must compute them elsewhere.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import uvicorn
import xgboost as xgb
from fastapi import FastAPI
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float32
from feast.value_type import ValueType
from pydantic import BaseModel

KEYS = ("account_id", "device_id", "ip", "payment_method_id", "event_id", "promoter_id")
OF_VIEW, TREES, DEPTH, TRAINED_ON = 56, 300, 6, 3_000
STORED = tuple(f"{key}_{place:02d}" for key in KEYS for place in range(OF_VIEW))
OF_REQUEST = ("amount", "hour", "weekday", "minute")
SERVICE, MODEL, BODIES, EXAMPLE = "fraud", "model.json", "bodies", "example.json"

Rows = npt.NDArray[np.float32]


class Payment(BaseModel):
    """ts: event time in ms."""

    transaction_id: str
    account_id: int
    device_id: int
    ip: int
    payment_method_id: int
    event_id: int
    promoter_id: int
    amount: int
    ts: int


class Decision(BaseModel):
    transaction_id: str
    fraud_score: float
    is_fraud: bool


def of_request(payment: Payment) -> list[float]:
    at = time.gmtime(payment.ts / 1_000)
    return [payment.amount / 100_000, at.tm_hour / 24, at.tm_wday / 7, at.tm_min / 60]


# -- the store and the model ----------------------------------------------------------------------


def fill(folder: Path, redis_port: int, entities: int, payments: int) -> None:
    """All that the service needs, what it will be asked, and one request with the score it must have."""
    store = _declared(folder, redis_port)
    values = _written(store, entities)
    booster = _trained()
    booster.save_model(folder / MODEL)
    asked = _payments(entities, payments)
    (folder / BODIES).write_text("".join(f"{one.model_dump_json()}\n" for one in asked))
    known = [float(value) for key in KEYS for value in values[key][getattr(asked[0], key)]]
    row = np.array([[*known, *of_request(asked[0])]], np.float32)
    example = {"request": asked[0].model_dump(), "score": float(booster.inplace_predict(row)[0])}
    (folder / EXAMPLE).write_text(json.dumps(example))


def _payments(entities: int, many: int) -> list[Payment]:
    """Of entities that are there."""
    chosen, now_ms = (
        np.random.default_rng(7).integers(0, entities, (many, len(KEYS))).tolist(),
        time.time_ns() // 1_000_000,
    )
    return [
        Payment(transaction_id=f"t{number}", amount=5_000, ts=now_ms, **dict(zip(KEYS, row, strict=True)))
        for number, row in enumerate(chosen)
    ]


def _declared(folder: Path, redis_port: int) -> Any:
    """Six views, each of an entity of its own, in one feature service."""
    (folder / "feature_store.yaml").write_text(
        "project: peer\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
        f'online_store:\n  type: redis\n  connection_string: "127.0.0.1:{redis_port}"\n'
    )
    store = FeatureStore(repo_path=str(folder))
    entities = [Entity(name=key, join_keys=[key], value_type=ValueType.INT64) for key in KEYS]
    views = []
    for entity in entities:
        path = folder / f"{entity.name}.parquet"
        path.touch()  # values are written online; Feast only wants to see where they might have come from
        schema = [Field(name=f"{entity.name}_{place:02d}", dtype=Float32) for place in range(OF_VIEW)]
        source = FileSource(name=f"{entity.name}_source", path=str(path), timestamp_field="event_timestamp")
        ttl = timedelta(days=31)
        views.append(FeatureView(name=f"{entity.name}_view", entities=[entity], ttl=ttl, source=source, schema=schema))
    store.apply([*entities, *views, FeatureService(name=SERVICE, features=views)])
    return store


def _written(store: Any, entities: int) -> dict[str, Rows]:
    """Every entity of every view, with values of its own."""
    rng, now, values = np.random.default_rng(7), pd.Timestamp.now("UTC"), {}
    for key in KEYS:
        values[key] = rng.random((entities, OF_VIEW), dtype=np.float32)
        rows = pd.DataFrame(values[key], columns=[f"{key}_{place:02d}" for place in range(OF_VIEW)])
        store.write_to_online_store(f"{key}_view", rows.assign(**{key: np.arange(entities), "event_timestamp": now}))
    return values


def _trained() -> Any:
    """As many and as deep trees as ours (benchmarks/model_row.py)."""
    names = [*STORED, *OF_REQUEST]
    rng = np.random.default_rng(11)
    rows = rng.random((TRAINED_ON, len(names)), dtype=np.float32)
    label = (rows[:, ::8].sum(1) + rng.normal(0, 0.5, TRAINED_ON) > rows[:, ::8].shape[1] / 2).astype(int)
    params = {
        "objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.1, "max_bin": 32, "min_child_weight": 0, "nthread": 2,
    }  # fmt: skip
    return xgb.train(params, xgb.DMatrix(rows, label, feature_names=names), TREES)


# -- the service ----------------------------------------------------------------------------------


def service(folder: Path) -> Any:
    """`POST /score` reads 336 features by their six entities and scores them."""
    store = FeatureStore(repo_path=str(folder))
    features = store.get_feature_service(SERVICE)
    booster = xgb.Booster(model_file=str(folder / MODEL))
    booster.set_param({"nthread": 1})
    app = FastAPI()

    @app.post("/score")
    async def decide(payment: Payment) -> Decision:
        entity = {key: getattr(payment, key) for key in KEYS}
        found = (await store.get_online_features_async(features=features, entity_rows=[entity])).to_dict()
        row = np.array([[*(found[name][0] for name in STORED), *of_request(payment)]], np.float32)
        score = float(booster.inplace_predict(row, validate_features=False)[0])
        return Decision(transaction_id=payment.transaction_id, fraud_score=score, is_fraud=score > 0.5)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "live"}

    return app


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
    else:
        uvicorn.run(
            service(Path(sys.argv[1])),
            port=int(sys.argv[2]),
            access_log=False,
            log_level="warning",
            timeout_keep_alive=75,
        )
