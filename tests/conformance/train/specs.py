"""A network small enough for NumPy to train while a test waits, and ways to change its spec."""

from textwrap import dedent

TINY = dedent("""\
    format: lockstep-network/1
    name: tiny
    title: A network that learns something of digits
    source: these tests
    input:
      name: image
      shape: [1, 7, 7]
    graph:
      - {name: conv1, op: conv, out_channels: 4, kernel: 3, stride: 2, pads: 0, groups: 1, bias: true}
      - {name: relu1, op: relu}
      - {name: flatten, op: flatten}
      - {name: fc2, op: dense, in_features: 36, out_features: 24, bias: true}
      - {name: relu2, op: relu}
      - {name: drop2, op: dropout, drop_probability: 0.25, convention: inverted}
      - {name: fc3, op: dense, in_features: 24, out_features: 10, bias: true}
    expect:
      shapes:
        conv1: [4, 3, 3]
        relu1: [4, 3, 3]
        flatten: [36]
        fc2: [24]
        relu2: [24]
        drop2: [24]
        fc3: [10]
      parameters: 1178
      macs: 1428
      neurons: 70
    preprocessing:
      shorter_side: 8
      centre_crop: 8
      value_range: [0.0, 1.0]
      mean: {kind: per_pixel, rgb: [77.8, 77.8, 77.8]}
      augmentation: {crop: random, horizontal_flip: false, pca_colour: null}
    training:
      loss: {kind: softmax_cross_entropy, reduction: mean}
      optimizer:
        kind: sgd
        momentum: 0.9
        rate: inside_velocity
        weight_decay: 0.0005
        decay: inside_momentum
        decays: weights
        bias_rate_factor: 2.0
        bias_schedule: constant
      schedule: {kind: plateau, rate: 0.1, factor: 0.1, drops: 1, patience: 2}
      batch: 64
      epochs: 4
      initialisers:
        weights: {kind: normal, mean: 0.0, std: 0.2}
        biases: {kind: constant, value: 0.0}
        overrides: {}
    evaluation:
      views: centre
      average: probabilities
      results: []
      contradicted: []
    """)

#: The same for images of three colours, with everything that augmentation and evaluation can do.
COLOURFUL = (
    TINY.replace("shape: [1, 7, 7]", "shape: [3, 7, 7]")
    .replace("parameters: 1178", "parameters: 1250")
    .replace("macs: 1428", "macs: 2076")
    .replace("horizontal_flip: false", "horizontal_flip: true")
    .replace("pca_colour: null", "pca_colour: {std: 0.1, scale_by: eigenvalue, rescale: none}")
    .replace("views: centre", "views: ten_crop")
    .replace("batch: 64", "batch: 4")
)


def changed(*replacements: tuple[str, str], text: str = TINY) -> str:
    """A spec with each of `replacements` made at its only place."""
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
