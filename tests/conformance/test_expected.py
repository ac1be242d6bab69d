"""What timed processes are held against: the batch of a training step, and the velocities after it."""

from pathlib import Path

import numpy as np
import pytest

from conformance.backpropagation import backpropagate
from conformance.expected import write_train_step
from conformance.updates import Rates, start, update
from impls.training import one_batch
from spec.exits import InputError
from spec.inputs import inputs
from spec.load import load
from spec.network import Network
from spec.tensors import metadata, read
from spec.weights import weights


def narrow(reduction: str) -> Network:
    network = load("alexnet_narrow")
    assert network.training is not None
    loss = network.training.loss.model_copy(update={"reduction": reduction})
    return network.model_copy(update={"training": network.training.model_copy(update={"loss": loss})})


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_velocities_are_those_of_the_whole_batch(reduction: str, tmp_path: Path) -> None:
    network = narrow(reduction)
    assert network.training is not None
    tensors, x = weights(network, "scaled", 1), inputs(network, "photographs", 1, 2)
    write_train_step(network, tensors, x, 3, tmp_path / "batch", tmp_path / "expected")
    batch = one_batch(read(tmp_path / "batch"))
    assert batch.x.shape == (6, *network.input.shape)
    wide = {name: value.astype(np.float64) for name, value in tensors.items()}
    passed = backpropagate(network, wide, batch.x.astype(np.float64), batch.labels, batch.masks, network.training.loss)
    velocities = update(start(wide), passed.parameters, network.training.optimizer, Rates(*batch.rates)).velocities
    expected = read(tmp_path / "expected")
    assert expected.keys() == passed.parameters.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(value, velocities[name], rtol=0, atol=1e-11 * np.abs(value).max())
    assert 0 < float(metadata(tmp_path / "expected")["relative_rms_cap.float32"]) < 1e-2


def test_a_network_without_a_recipe_has_no_training_step(tmp_path: Path) -> None:
    network = load("alexnet_narrow").model_copy(update={"training": None})
    with pytest.raises(InputError, match="alexnet_narrow: a training step needs the section 'training', found none"):
        write_train_step(network, {}, np.zeros((1, 3, 2, 2)), 1, tmp_path / "batch", tmp_path / "expected")
