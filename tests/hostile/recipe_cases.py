"""Recipes whose numbers no float32 holds, or that never end."""

from spec.load import shipped
from tests.hostile.case import Cases, Hostile, file

NARROW = shipped()["alexnet_narrow"].read_text(encoding="utf-8")
FLOAT32 = "expected 0 or a size from 1.2e-38 to 3.4e+38, which float32 can hold, found"
WEIGHTS = "    weights: {kind: normal, mean: 0.0, std: 0.01}"
SCHEDULE = "  schedule: {kind: plateau, rate: 0.01, factor: 0.1, drops: 3, patience: 5}"
OVERRIDES = "      conv2.bias: {kind: constant, value: 1.0}\n"


def recipe(old: str, new: str, says: str) -> Hostile:
    """The narrow AlexNet with `old`, which is there once, replaced in its recipe."""
    assert NARROW.count(old) == 1, old
    line = NARROW.count("\n", 0, NARROW.index(old)) + 1
    return file(NARROW.replace(old, new), f"{line}: {says}")


def weights(drawn: str, says: str) -> Hostile:
    """The narrow AlexNet with weights drawn from something else."""
    return recipe(WEIGHTS, f"    weights: {{{drawn}}}", says)


def steps(epochs: str, says: str) -> Hostile:
    """The narrow AlexNet with a schedule of steps at these epochs."""
    return recipe(SCHEDULE, f"  schedule: {{kind: steps, rate: 0.01, factor: 0.1, epochs: [{epochs}]}}", says)


CASES: Cases = {
    "momentum that is none": recipe(
        "momentum: 0.9", "momentum: .nan", "training.optimizer.momentum: expected a finite"
    ),
    "momentum of 1": recipe("momentum: 0.9", "momentum: 1.0", "training.optimizer.momentum: expected less than 1"),
    "decay below zero": recipe(
        "weight_decay: 0.0005", "weight_decay: -0.1", "training.optimizer.weight_decay: expected at"
    ),
    "rate beyond float32": recipe("rate: 0.01,", "rate: 1.0e+300,", f"training.schedule.rate: {FLOAT32} 1e+300"),
    "rate of minus infinity": recipe("rate: 0.01,", "rate: -.inf,", "training.schedule.rate: expected a finite number"),
    "factor of zero": recipe("factor: 0.1,", "factor: 0.0,", "training.schedule.factor: expected more than 0"),
    "spread that is infinite": weights(
        "kind: normal, mean: 0.0, std: .inf", "training.initialisers.weights.std: expected a"
    ),
    "spread that is a denormal": weights(
        "kind: normal, mean: 0.0, std: 1.0e-44", f"training.initialisers.weights.std: {FLOAT32}"
    ),
    "mean beyond float32": weights(
        "kind: normal, mean: 1.0e+39, std: 1.0", f"training.initialisers.weights.mean: {FLOAT32}"
    ),
    "draws beyond float32": weights(
        "kind: normal, mean: 0.0, std: 1.0e+38", "std: expected draws from mean=0.0 ± 10·std that float32 can"
    ),
    "interval wider than float32": weights(
        "kind: uniform, low: -3.0e+38, high: 3.0e+38", "high: expected a distance from low=-3e+38 that float32 can hold"
    ),
    "interval upside down": weights(
        "kind: uniform, low: 1.0, high: -1.0", "high: expected more than low=1.0, found -1.0"
    ),
    "code as a kind": weights("kind: __import__('os'), value: 1.0", "kind: unknown kind"),
    "epochs beyond an index": recipe(
        "epochs: 90", "epochs: 99999999999", "training.epochs: expected at most 2147483647"
    ),
    "batch of zero": recipe("  batch: 128", "  batch: 0", "training.batch: expected at least 1, found 0"),
    "plateau that never ends": recipe(
        "patience: 5", "patience: 2147483647", "schedule: expected patience and drops that"
    ),
    "80,000 epochs that do not rise": steps("7," * 80_000 + "8", "schedule: expected rising epochs, found [7, 7, 7"),
    "80,000 epochs": steps(",".join(map(str, range(1, 80_000))), "schedule: expected steps before epoch 90, found 90"),
    "override of another path": recipe(
        OVERRIDES,
        "      ../../conv1.bias: {kind: constant, value: 1.0}\n",
        "training.initialisers.overrides: expected the name of a parameter, found '../../conv1.bias'",
    ),
    "9,000 overrides": recipe(
        OVERRIDES,
        "".join(f"      a{n}: {{kind: constant, value: 1.0}}\n" for n in range(9_000)),
        "training.initialisers.overrides: expected the name of a parameter, found 'a0'",
    ),
    "pixels that are none": recipe(
        "rgb: [123.68,", "rgb: [.nan,", "preprocessing.mean.rgb.0: expected a finite number"
    ),
    "range of pixels beyond float32": recipe(
        "[0.0, 255.0]", "[-3.0e+38, 3.0e+38]", "value_range: expected a distance that"
    ),
    "crop larger than its image": recipe("centre_crop: 256", "centre_crop: 257", "centre_crop: expected at most"),
    "image without a side": recipe(
        "shorter_side: 256", "shorter_side: 0", "preprocessing.shorter_side: expected at least 1"
    ),
}
