"""Writes a torch `state_dict`: `python -m impls.write_torch SOURCE WEIGHTS OUTPUT`, in the environment of torch."""

from pathlib import Path

import torch

from impls.runner import import_source
from spec.exits import Exit, end
from spec.tensors import read


def main(arguments: list[str]) -> Exit:
    """What `torch.load(weights_only=True)` reads: tensors alone, by torch's own names."""
    source, weights, output, *_ = arguments
    tensors = {name: torch.from_numpy(value.copy()) for name, value in read(Path(weights)).items()}
    torch.save(import_source(source).load(tensors).state_dict(), output)
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
