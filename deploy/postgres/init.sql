-- Runs once, on an empty volume: a database and a user for each of its users. psql reads the passwords from their files.
\set dagster `cat "${SECRETS:-/run/secrets}/postgres_dagster_password"`
\set mlflow `cat "${SECRETS:-/run/secrets}/postgres_mlflow_password"`
\set decisions `cat "${SECRETS:-/run/secrets}/postgres_decisions_password"`
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE decisions LOGIN PASSWORD :'decisions';
CREATE DATABASE dagster OWNER dagster;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE decisions OWNER decisions;
