"""The catalogue of planted faults."""

from conformance.power.fault import Fault
from conformance.power.operator_faults import OPERATOR_FAULTS
from conformance.power.precision_faults import PRECISION_FAULTS
from conformance.power.recipe_faults import RECIPE_FAULTS
from conformance.power.runner_faults import RUNNER_FAULTS
from conformance.power.tensor_faults import TENSOR_FAULTS

FAULTS: tuple[Fault, ...] = (
    *OPERATOR_FAULTS,
    *TENSOR_FAULTS,
    *PRECISION_FAULTS,
    *RUNNER_FAULTS,
    *RECIPE_FAULTS,
)
