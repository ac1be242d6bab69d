"""A small part of an operator's work, which tells quickly what cannot explain the whole."""

from dataclasses import replace

import numpy as np

from conformance.diagnosis.alternatives import FIRST, Asked
from conformance.windows import Array
from spec.operators import AvgPool, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, Lrn, MaxPool, Relu, Tanh

#: So many rows, columns or channels are kept.
FEW = 8


def smaller(asked: Asked, actual: Array) -> tuple[Asked, Array]:
    """One image of what was asked and of what was found, and of that some channels or places, as the operator allows.

    It is a whole operator of its own, with fewer outputs where it is a sum of products.
    """
    own, found = asked.images(FIRST), actual[FIRST]
    operator, x = asked.layer.operator, own.inputs[0]
    match operator:
        case Lrn() | BatchNorm() | Dropout() | Relu() | Tanh() if x.ndim == 4 and found.shape == x.shape:
            rows, columns = (slice(None, None, -(-extent // FEW)) for extent in x.shape[2:])
            own, found = replace(own, inputs=(x[:, :, rows, columns],)), found[:, :, rows, columns]
        case MaxPool() | AvgPool() | GlobalAvgPool() if found.ndim == 4 and found.shape[1] == x.shape[1]:
            channels = slice(None, None, -(-x.shape[1] // FEW))
            own, found = replace(own, inputs=(x[:, channels],)), found[:, channels]
        case Conv() | Dense() if found.shape[1] == asked.layer.output_shape[0]:
            groups = operator.groups if isinstance(operator, Conv) else 1
            outputs = np.arange(found.shape[1]).reshape(groups, -1)
            kept = outputs[:, :: -(-found.shape[1] // FEW)].ravel()
            extent = "out_channels" if isinstance(operator, Conv) else "out_features"
            own = replace(own, tensors={name: value[kept] for name, value in own.tensors.items()})
            operator, found = operator.model_copy(update={extent: len(kept)}), found[:, kept]
    fitting = own.changed(operator)
    return (fitting, found) if fitting is not None else (asked, actual)
