"""Every proof there is, by the name it has in docs/reliability.md."""

from tests.chaos import (
    broker,
    decided,
    elsewhere,
    group,
    local_state,
    log_losses,
    losses,
    registry,
    scorer,
    soak,
    worker,
)
from tests.chaos.proof import Proof

PROOFS = {
    proof.name: proof
    for proof in (
        Proof(
            "R1",
            "worker killed after each step and at any instant: 0 lost, 0 twice, states equal recomputation",
            worker.killed,
            in_ci="tests/streaming/test_worker_e2e.py::test_every_state_in_redis_equals_the_log_folded_in_memory",
        ),
        Proof(
            "R1b",
            "explainer, database sink and notifier killed after each step: every decision explained, stored once, told",
            decided.killed,
            in_ci="tests/streaming/test_explainer_e2e.py::test_every_decision_is_explained_and_a_repetition_has_the_same_bytes",
        ),
        Proof(
            "R2",
            "an owner paused past its session wakes: 0 regressions, its writes refused",
            group.paused,
        ),
        Proof(
            "R2b",
            "a router paused in a file of the lake, past its session, wakes: 0 lost, 0 twice",
            group.paused_in_a_file,
            in_ci="tests/streaming/test_lake_writer.py::test_an_owner_that_wakes_up_behind_its_successor_takes_no_row_away",
        ),
        Proof(
            "R3a",
            "store emptied: noticed, readers degrade, rebuilt, equal",
            losses.flushed,
            in_ci="tests/streaming/test_rebuild_e2e.py::test_a_flushed_store_is_noticed_rebuilt_and_equal_to_batch",
        ),
        Proof(
            "R3b",
            "a replica without the last writes promoted: noticed, readers degrade, folded again, equal",
            losses.failed_over,
        ),
        Proof(
            "R3c",
            "a topic made anew, and longer: said within 30 s, nothing of it taken for the old, readers degrade",
            log_losses.made_anew,
            in_ci="tests/streaming/test_resume.py::test_a_topic_made_anew_and_longer_than_the_old_one_is_not_taken_for_it",
        ),
        Proof(
            "R3d", "an entity topic made anew: noticed, readers degrade, rebuilt, equal", log_losses.entities_made_anew
        ),
        Proof("R4", "store stopped, refused or slow: 0 failures, in time, back within 2 s", scorer.store_faults),
        Proof(
            "R5", "MLflow silent, also at a cold start: verified files serve, a reload says what it did", registry.gone
        ),
        Proof("R6", "broker gone, scorer killed: every decision answered, kept and delivered", broker.gone),
        Proof(
            "R6b",
            "the worker's broker gone for long, then hung: it starts anew, catches up unaided",
            log_losses.broker_gone,
        ),
        Proof(
            "R7",
            "1 worker, 2, 3, 1 under load: 0 lost, 0 twice, no payment waits long",
            group.comes_and_goes,
        ),
        Proof(
            "R8",
            "1 % poison: dead letters hold exactly those bytes, 0 restarts",
            worker.poisoned,
            in_ci="tests/streaming/test_worker_e2e.py::test_dead_letters_hold_exactly_the_refused_bytes",
        ),
        Proof(
            "R9",
            "any order, any repetition: the same state at rest",
            elsewhere.any_arrival_order,
            in_ci="tests/parity/test_at_rest.py::test_any_arrival_order_and_partitioning_gives_the_same_state_at_rest",
        ),
        Proof(
            "R10",
            "clocks a day ahead quarantined, a day behind counted late, nobody's windows moved",
            worker.wrong_clocks,
        ),
        Proof(
            "R11",
            "neighbouring versions on one log: nothing lost",
            elsewhere.mixed_versions,
            in_ci="tests/streaming/test_mixed_versions.py::test_nothing_is_lost_between_versions",
        ),
        Proof("R12", "champions swapped under load: 0 failures, every score its version's own", scorer.reloads),
        Proof("R13", "broken or lying model files: 0 accepted, the process lives", scorer.broken_models),
        Proof(
            "R14",
            "three times capacity: 503 and 429, what is admitted in time",
            elsewhere.overload,
            in_ci="tests/api/test_load.py::test_three_times_what_it_can_do",
        ),
        Proof(
            "R15",
            "a hundred retries of one key at once: one decision",
            elsewhere.retries,
            in_ci="tests/api/test_idempotency.py::test_a_hundred_at_once_over_two_processes_are_one_decision",
        ),
        Proof(
            "R16",
            "load for ten minutes: memory and descriptors flat",
            soak.flat,
            only_long="in less than four minutes caches fill and allocators take their first, and a leak looks like that",
        ),
        Proof(
            "R20",
            "offsets, store and kept snapshots gone: read again, equal; records expired unread: said within 30 s",
            log_losses.forgotten,
            in_ci="tests/streaming/test_resume.py::test_records_that_expired_unread_are_no_place_to_go_on_from",
        ),
        Proof(
            "R20b",
            "a scorer's spool, journal and models deleted: nothing answered is missing, or it says so",
            local_state.gone,
            in_ci="tests/api/test_predict.py::test_without_a_model_there_is_no_decision_and_no_readiness",
        ),
    )
}

# Those that `--kafka` runs on an Apache Kafka 4 of their own; the others have no broker, or nothing to ask of it.
ON_KAFKA = ("R1", "R1b", "R2", "R2b", "R3a", "R3b", "R3c", "R3d", "R6", "R6b", "R7", "R8", "R10", "R11", "R16", "R20")
