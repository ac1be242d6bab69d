"""A network as plain JSON: what a runner that brings an implementation of its own reads."""

from spec.network import Network


def describe(network: Network) -> dict[str, object]:
    """A network as plain JSON, for runners that bring an implementation of their own.

    `preprocessing`, `training` and `evaluation` are there where its spec has such sections, as the spec has them.
    """
    recipe = network.model_dump(
        mode="json",
        include={"preprocessing": True, "training": True, "evaluation": {"views", "average"}},
        exclude_none=True,
    )
    return {
        "name": network.name,
        "input": network.input.model_dump(mode="json"),
        "graph": [
            operator.model_dump(mode="json", exclude={"source"})
            | {
                "output_shape": list(layer.output_shape),
                "tensors": {name: list(shape) for name, shape in layer.tensor_shapes.items()},
            }
            for operator, layer in zip(network.graph, network.layers, strict=True)
        ],
    } | recipe
