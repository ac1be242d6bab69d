"""ONNX's ReferenceEvaluator: LRN sums squares for as many channels as there are images, and for no other.

op_lrn.py goes through `range(x.shape[0])` where it means the channels. Ends with exit code 1 where it is wrong.
"""

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

x = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1, 1)
node = helper.make_node("LRN", ["x"], ["y"], size=1, alpha=1.0, beta=1.0, bias=1.0)
of_x, of_y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x.shape) for name in "xy")
model = helper.make_model(helper.make_graph([node], "lrn", [of_x], [of_y]))

(actual,) = ReferenceEvaluator(model).run(None, {"x": x})

expected = x / (1.0 + x**2)
if not np.abs(actual - expected).max() <= 1e-6:
    raise SystemExit(f"onnx {onnx.__version__}: expected {expected.ravel()}, found {actual.ravel()}")
