-- Runs once, on an empty volume.
CREATE DATABASE mlflow;
CREATE DATABASE decisions;
