"""The claims on the test error: whole recipes, with and without what the paper has."""

from collections.abc import Callable
from math import inf

from conformance.claims.study import Finding, Study, for_network
from conformance.claims.variants import with_plain_pooling, without
from conformance.results import Outcome
from conformance.train.run import Watch, train
from conformance.train.testing import Tested
from spec.exits import NotRunError
from spec.network import Network
from spec.operators import Dropout, Lrn


def error_findings(study: Study) -> list[Finding]:
    """Every claim on the test error; raises NotRunError where a worker could not do a run."""
    network = study.network
    others = {
        ("Local response normalisation lowers the test error", "§3.3", "with LRN", "without LRN"): without(
            network, Lrn
        ),
        ("Overlapping pooling lowers the test error", "§3.4", "overlapping", "plain"): with_plain_pooling(network),
        ("Dropout lowers the test error", "§4.2", "with dropout", "without dropout"): without(network, Dropout),
    }
    papers = _all_tested(study, network, "as the paper has it")
    found = []
    for (claim, section, papers_name, others_name), other in others.items():
        values = _all_tested(study, other, others_name)
        for measure, value_of in MEASURES.items():
            papers_values, others_values = (tuple(map(value_of, side)) for side in (papers, values))
            found.append(Finding(claim, section, measure, papers_name, others_name, papers_values, others_values))
    return found


def _error(found: Tested | None) -> float:
    return inf if found is None else found.error_percent


def _loss(found: Tested | None) -> float:
    return inf if found is None else found.loss


#: What is compared, and where it is found; none was tested where training came to no number.
MEASURES: dict[str, Callable[[Tested | None], float]] = {"test error, %": _error, "test loss": _loss}


def _all_tested(study: Study, network: Network, name: str) -> list[Tested | None]:
    """How the network does after its whole recipe, a seed."""
    entrant = study.entrant_of(network)
    found = []
    for plan in study.plans:
        study.tell(f"{name}: seed {plan.identity.seed}")
        run = train(for_network(plan, network), entrant, None, None, Watch())
        if run.outcome not in (Outcome.PASSED, Outcome.FAILED):
            raise NotRunError(f"{name}, seed {plan.identity.seed}: {run.message}")
        found.append(run.tested)
    return found
