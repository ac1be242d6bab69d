"""One block: what is measured of a cell, and that nothing else runs meanwhile."""

import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from gate.blocks import Bench, Block, Control, Pace, Sample, SideError, files_of, pace_of, sample_of
from gate.plan import Plan
from gate.results import Quantity
from tests.gate.paced import PLAN, cell, paced
from tests.gate.paced_worker import PATIENCE_S

CELL = cell()
SLOW, QUICK = 0.002, 0.001


def sample(turns: list[tuple[list[float], list[float]]]) -> Sample:
    kept = tuple((tuple(before), tuple(after)) for before, after in turns)
    return Sample((1.0, 1.1), (0.5, 0.5), (2.0, 1.0), (100.0, 200.0), kept, (0.1,) * len(kept))


def ratio(of: Sample, quantity: Quantity = Quantity.STEADY) -> float:
    log_ratio = of.log_ratio(quantity)
    assert log_ratio is not None
    return round(math.exp(log_ratio), 6)


@dataclass
class Watch(Control):
    """A control that notes the states of all workers while it runs."""

    states: list[list[str]] = field(default_factory=list)

    @contextmanager
    def ready(self, cpus: Iterable[int]) -> Iterator[None]:
        yield

    def run(self) -> float:
        children = psutil.Process(os.getpid()).children()
        workers = [child for child in children if "paced_worker" in " ".join(child.cmdline())]
        until = time.monotonic() + PATIENCE_S
        while any(worker.status() != psutil.STATUS_STOPPED for worker in workers) and time.monotonic() < until:
            time.sleep(0.01)
        self.states.append([worker.status() for worker in workers])
        return 0.001


def bench(folder: Path, *how: str, control: Control | None = None) -> Bench:
    return Bench((paced(), paced(2.0, 0.0, *how)), PLAN, files_of([CELL], 1, folder), control or Control(1))


def test_block_measures_every_quantity_of_both_sides(tmp_path: Path) -> None:
    with Block(bench(tmp_path), "seed") as block:
        block.start()
        found, pace = block.measure(CELL, None)
    assert len(found.turns) == pace.turns == PLAN.turns
    for quantity in Quantity:
        assert ratio(found, quantity) == pytest.approx(2.0, rel=0.02)


def test_both_sides_are_stopped_while_the_control_runs_and_none_is_left(tmp_path: Path) -> None:
    watch = Watch()
    with Block(bench(tmp_path, control=watch), "seed") as block:
        block.start()
        block.measure(CELL, Pace(4, 3, 1))
        pids = [worker.pid for worker in block.workers]
    assert watch.states == [[psutil.STATUS_STOPPED] * 2] * 3
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_worker_that_is_not_alone_would_fail(tmp_path: Path) -> None:
    with Block(bench(tmp_path), "seed") as block:
        block.start()
        block.workers[0].resume()
        block.workers[1].pause = lambda: None  # type: ignore[method-assign]
        with pytest.raises(SideError):
            block.measure(CELL, Pace(4, 3, 1))


def test_order_of_sides_is_random_and_that_of_its_seed(tmp_path: Path) -> None:
    made = bench(tmp_path)
    orders = [Block(made, str(seed)).random.sample((0, 1), 2) for seed in range(20)]
    assert {tuple(order) for order in orders} == {(0, 1), (1, 0)}
    assert orders == [Block(made, str(seed)).random.sample((0, 1), 2) for seed in range(20)]


def test_steady_state_that_is_decided_is_not_timed_again(tmp_path: Path) -> None:
    with Block(bench(tmp_path), "seed") as block:
        block.start()
        found, _ = block.measure(CELL, Pace(4, 3, 1), is_steady=False)
    assert found.turns == ()
    assert found.log_ratio(Quantity.STEADY) is None
    assert ratio(found, Quantity.MEMORY) == 2.0
    assert len(found.control_s) == 1


def test_cost_of_every_twentieth_call_counts() -> None:
    seldom = [QUICK] * 19 + [SLOW]
    assert ratio(sample([([QUICK] * 20, seldom)] * 5)) == 1.05


def test_interruption_of_some_turns_does_not_count() -> None:
    quiet, hit = ([QUICK] * 20, [QUICK] * 20), ([QUICK] * 20, [QUICK] * 19 + [0.1])
    assert ratio(sample([quiet, hit, quiet, hit, quiet])) == 1.0


def test_drift_that_both_chunks_of_a_turn_share_does_not_count() -> None:
    turns = [([QUICK * pace] * 4, [QUICK * pace * 1.1] * 4) for pace in (1.0, 3.0, 0.5, 2.0, 9.0)]
    assert ratio(sample(turns)) == 1.1


def test_other_quantities_are_candidate_over_baseline() -> None:
    found = sample([])
    assert [ratio(found, quantity) for quantity in Quantity if quantity is not Quantity.STEADY] == [0.5, 1.0, 1.1, 2.0]


def test_quantity_that_one_side_does_not_tell_has_no_ratio() -> None:
    assert Sample((0.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)).log_ratio(Quantity.IMPORT) is None


def test_sample_survives_the_journal() -> None:
    found = sample([([QUICK, SLOW], [SLOW, SLOW])] * 3)
    assert sample_of(json.loads(json.dumps(found.fields()))) == found


@pytest.mark.parametrize(
    ("step_s", "expected"),
    [
        (0.004, Pace(15, 10, 1)),
        (0.00001, Pace(6000, 10, 1)),
        (0.2, Pace(1, 5, 1)),
        (0.5, Pace(1, 4, 0)),
        (30.0, Pace(1, 3, 0)),
    ],
)
def test_pace_fills_chunks_and_gives_long_steps_fewer_turns(step_s: float, expected: Pace) -> None:
    assert pace_of(step_s, Plan(turns=10, chunk_s=0.06, cell_s=4.0)) == expected
