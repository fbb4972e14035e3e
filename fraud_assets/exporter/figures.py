"""Which numbers of a report become metrics: those that the dashboard of the models draws, or an alert asks for."""

from collections.abc import Mapping

FIGURES: Mapping[str, tuple[str, ...]] = {
    "performance_report": (
        "recall",
        "expected_recall",
        "precision",
        "f1",
        "fpr",
        "average_precision",
        "recall_of_day",
        "precision_of_day",
        "cost_minor",
        "labelled_of_week",
        "frauds_of_week",
    ),
    "calibration_report": ("mean_score", "share_of_fraud", "gap"),
    "prediction_drift": ("psi", "ks", "rows"),
    "drift_report": ("share_drifted", "psi_of_score", "psi_max", "psi_by_chance", "rows"),
    "skew_report": ("checked", "mismatches", "stale_reads", "pending", "missing", "extra", "unreadable"),
    "rollout_evidence": ("sequence", "challenger_share"),
}
"""Asset to names of its metadata, as the asset's own module writes them."""
