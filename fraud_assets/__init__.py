"""The core of the fraud platform.

Empty on purpose: the scorer and the worker import this package, and a re-export of one heavy
module here would load Dagster into both.
"""
