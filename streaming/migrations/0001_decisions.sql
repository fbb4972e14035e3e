-- Decisions and their explanations as the lake has them, for people and programs that speak SQL.
-- Columns are the contract's fields by the same names. Times are milliseconds since 1970 UTC:
-- to_timestamp(event_time_ms / 1000.0). A row's last three columns say where and when the log got it.

CREATE TABLE fraud.decisions (
    schema_version integer NOT NULL,
    event_time_ms bigint NOT NULL,
    decision_id text NOT NULL,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    request jsonb NOT NULL,
    decided_at_ms bigint NOT NULL,
    broker_clock_offset_ms bigint NOT NULL,
    service text NOT NULL,
    service_digest text NOT NULL,
    policy_digest text NOT NULL,
    model_version text NOT NULL,
    model_sha256 text NOT NULL,
    epoch text NOT NULL,
    features real[] NOT NULL,
    view_status jsonb NOT NULL,
    states jsonb NOT NULL,
    fraud_score double precision NOT NULL,
    shadow_scores jsonb NOT NULL,
    action text NOT NULL,
    reason_codes text[] NOT NULL,
    degraded_reasons text[] NOT NULL,
    self_included boolean NOT NULL,
    latency_ms double precision NOT NULL,
    chain_id text NOT NULL,
    chain_position bigint NOT NULL,
    previous_sha256 text NOT NULL,
    sha256 text NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    appended_at_ms bigint NOT NULL,
    PRIMARY KEY (account_id, decision_id)
);

CREATE INDEX decisions_by_transaction ON fraud.decisions (transaction_id);
CREATE INDEX decisions_by_event_time ON fraud.decisions (event_time_ms);

-- No foreign key: both topics are read side by side, and an explanation may come first.
CREATE TABLE fraud.explanations (
    schema_version integer NOT NULL,
    event_time_ms bigint NOT NULL,
    decision_id text NOT NULL,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    service text NOT NULL,
    service_digest text NOT NULL,
    model_version text NOT NULL,
    model_sha256 text NOT NULL,
    base_value double precision NOT NULL,
    contributions real[] NOT NULL,
    margin double precision NOT NULL,
    top_features jsonb NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    appended_at_ms bigint NOT NULL,
    PRIMARY KEY (account_id, decision_id)
);

CREATE INDEX explanations_by_event_time ON fraud.explanations (event_time_ms);
