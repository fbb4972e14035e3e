CREATE OR REPLACE EXTERNAL TABLE `p.fraud.transactions` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `transaction_id` STRING,
  `account_id` STRING,
  `event_id` STRING,
  `promoter_id` STRING,
  `device_id` STRING,
  `ip_token` STRING,
  `ip_country` STRING,
  `card_token` STRING,
  `email_token` STRING,
  `payment_method` STRING,
  `amount_minor` INT64,
  `currency` STRING,
  `ticket_count` INT64,
  `tier` STRING,
  `category` STRING,
  `billing_country` STRING,
  `lat_e6` INT64,
  `lon_e6` INT64,
  `user_agent` STRING,
  `outcome` STRING,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/transactions/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/transactions',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.activity` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `activity_id` STRING,
  `kind` STRING,
  `event_id` STRING,
  `promoter_id` STRING,
  `account_id` STRING,
  `device_id` STRING,
  `inventory` INT64,
  `tickets_sold` INT64,
  `capacity` INT64,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/activity/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/activity',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.profiles` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `profile_id` STRING,
  `account_id` STRING,
  `created_at_ms` INT64,
  `address_changed_at_ms` INT64,
  `email_changed_at_ms` INT64,
  `phone_changed_at_ms` INT64,
  `home_country` STRING,
  `home_lat_e6` INT64,
  `home_lon_e6` INT64,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/profiles/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/profiles',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.labels` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `label_id` STRING,
  `transaction_id` STRING,
  `account_id` STRING,
  `source` STRING,
  `is_fraud` BOOL,
  `revision` INT64,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/labels/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/labels',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.label_facts` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `fact_id` STRING,
  `transaction_id` STRING,
  `account_id` STRING,
  `event_id` STRING,
  `promoter_id` STRING,
  `device_id` STRING,
  `ip_token` STRING,
  `card_token` STRING,
  `category` STRING,
  `amount_minor` INT64,
  `is_fraud` BOOL,
  `sign` INT64,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/label_facts/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/label_facts',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.decisions` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `decision_id` STRING,
  `transaction_id` STRING,
  `account_id` STRING,
  `request` STRING,
  `decided_at_ms` INT64,
  `broker_clock_offset_ms` INT64,
  `service` STRING,
  `service_digest` STRING,
  `policy_digest` STRING,
  `model_version` STRING,
  `model_sha256` STRING,
  `epoch` STRING,
  `features` ARRAY<FLOAT64>,
  `vector` BYTES,
  `view_status` STRUCT<`key_value` ARRAY<STRUCT<`key` STRING, `value` STRING>>>,
  `view_codes` BYTES,
  `states` ARRAY<STRUCT<`group` STRING, `entity_key` STRING, `version` INT64, `position` STRUCT<`key_value` ARRAY<STRUCT<`key` STRING, `value` INT64>>>>>,
  `states_read` STRUCT<`groups` ARRAY<STRING>, `keys` ARRAY<STRING>, `versions` ARRAY<INT64>, `positions` ARRAY<BYTES>, `topics` ARRAY<STRING>, `partition_bits` INT64>,
  `fraud_score` FLOAT64,
  `shadow_scores` STRUCT<`key_value` ARRAY<STRUCT<`key` STRING, `value` FLOAT64>>>,
  `scored_ms` STRUCT<`key_value` ARRAY<STRUCT<`key` STRING, `value` FLOAT64>>>,
  `action` STRING,
  `ruled` STRING,
  `reason_codes` ARRAY<STRING>,
  `degraded_reasons` ARRAY<STRING>,
  `self_included` BOOL,
  `latency_ms` FLOAT64,
  `chain_id` STRING,
  `chain_position` INT64,
  `previous_sha256` STRING,
  `sha256` STRING,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/decisions/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/decisions',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.explanations` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `decision_id` STRING,
  `transaction_id` STRING,
  `account_id` STRING,
  `service` STRING,
  `service_digest` STRING,
  `model_version` STRING,
  `model_sha256` STRING,
  `base_value` FLOAT64,
  `contributions` ARRAY<FLOAT64>,
  `margin` FLOAT64,
  `top_features` STRUCT<`key_value` ARRAY<STRUCT<`key` STRING, `value` FLOAT64>>>,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/explanations/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/explanations',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.erased_decisions` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `receipt` STRING,
  `chain_id` STRING,
  `chain_position` INT64,
  `previous_sha256` STRING,
  `sha256` STRING,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/erased_decisions/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/erased_decisions',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.price_decisions` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `decision_id` STRING,
  `event_id` STRING,
  `promoter_id` STRING,
  `category` STRING,
  `currency` STRING,
  `interval_end_ms` INT64,
  `starts_at_ms` INT64,
  `base_price_minor` INT64,
  `current_price_minor` INT64,
  `price_minor` INT64,
  `action` STRING,
  `explanation` STRING,
  `guard_rails` ARRAY<STRING>,
  `fallback` ARRAY<STRING>,
  `features` STRUCT<`key_value` ARRAY<STRUCT<`key` STRING, `value` FLOAT64>>>,
  `seed` INT64,
  `multiplier` FLOAT64,
  `choices` ARRAY<STRUCT<`multiplier` FLOAT64, `price_minor` INT64, `forbidden_by` ARRAY<STRING>, `propensity` FLOAT64, `best_chance` FLOAT64, `tickets_per_visitor` FLOAT64, `low` FLOAT64, `high` FLOAT64>>,
  `learned` STRUCT<`event_tickets` FLOAT64, `event_visitors` FLOAT64, `event_intervals` FLOAT64, `category_visitors` FLOAT64, `sensitivity` FLOAT64, `sensitivity_sd` FLOAT64>,
  `belief` STRUCT<`weights` ARRAY<FLOAT64>, `shape` FLOAT64, `rates` ARRAY<FLOAT64>>,
  `inventory` FLOAT64,
  `visitors_ahead` FLOAT64,
  `draws` INT64,
  `explore` FLOAT64,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/price_decisions/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/price_decisions',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);

CREATE OR REPLACE EXTERNAL TABLE `p.fraud.price_outcomes` (
  `schema_version` INT64,
  `event_time_ms` INT64,
  `decision_id` STRING,
  `event_id` STRING,
  `price_minor` INT64,
  `tickets_sold` FLOAT64,
  `visitors` FLOAT64,
  `source` STRING,
  `ingested_at_ms` INT64,
  `source_topic` STRING,
  `source_partition` INT64,
  `source_offset` INT64,
  `is_duplicate` BOOL
)
WITH PARTITION COLUMNS (`event_date` DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://b/lake/price_outcomes/*.parquet'],
  hive_partition_uri_prefix = 'gs://b/lake/price_outcomes',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);
