"""Every proof there is, by the name it has in docs/reliability.md."""

from tests.chaos import broker, scorer
from tests.chaos.proof import Proof

PROOFS = {
    proof.name: proof
    for proof in (
        Proof("R4", "store stopped, refused or slow: 0 failures, in time, back within 2 s", scorer.store_faults),
        Proof("R6", "broker gone, scorer killed: every decision answered, kept and delivered", broker.gone),
        Proof("R12", "champions swapped under load: 0 failures, every score its version's own", scorer.reloads),
        Proof("R13", "broken or lying model files: 0 accepted, the process lives", scorer.broken_models),
    )
}
