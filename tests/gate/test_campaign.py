"""The campaign: extra work that is planted, experiments with workers that only say how long they took, the page."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import psutil
import pytest

from gate import campaign
from gate.campaign import EXPERIMENTS, Experiment, Outcome, markdown, run
from gate.characteristics import CELLS, EFFECTS, NOISES, Characteristic, characteristics
from gate.plan import Plan
from gate.planted import slower
from gate.results import Effect, Quantity, Speed, SpeedVerdict
from spec.exits import Exit, InputError
from tests.gate.paced import PLAN, cell, paced


class Clock:
    """Time that only work lets pass."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, duration_s: float) -> str:
        self.now_s += duration_s
        return "output"


@pytest.mark.parametrize("share", [0.05, 0.10])
@pytest.mark.parametrize("pace", [1.0, 7.0])
def test_planted_work_is_its_share_of_every_chunk(share: float, pace: float) -> None:
    clock = Clock()
    both = slower(lambda: clock.work(0.004 * pace), lambda: clock.work(0.0002 * pace), share, clock)
    for _ in range(10):
        start = clock()
        assert {both() for _ in range(20)} == {"output"}
        assert (clock() - start) / (20 * 0.004 * pace) - 1.0 == pytest.approx(share, abs=0.003)


def test_work_larger_than_its_share_is_carried_over() -> None:
    clock = Clock()
    both = slower(lambda: clock.work(1.0), lambda: clock.work(0.5), 0.05, clock)
    took = []
    for _ in range(40):
        start = clock()
        both()
        took.append(round(clock() - start, 6))
    assert Counter(took) == {1.5: 4, 1.0: 36}


def test_figures_of_the_campaign() -> None:
    same, disturbed, tenth, twentieth = EXPERIMENTS
    assert (same.share, same.verdicts, same.most_slower) == (0.0, 60, 0)
    assert (disturbed.share, disturbed.is_disturbed, disturbed.verdicts, disturbed.most_slower) == (0.0, True, 20, 0)
    assert (tenth.share, tenth.verdicts, tenth.fewest_slower) == (0.10, 20, 20)
    assert (twentieth.share, twentieth.verdicts, twentieth.fewest_slower) == (0.05, 20, 19)


@pytest.fixture
def without_frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "commands", lambda _, __, share: (paced(), paced(1.0 + share)))


@pytest.mark.usefixtures("without_frameworks")
def test_campaign_judges_each_experiment_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    experiments = (Experiment("same", 0.0, False, 2, 0, 0), Experiment("slow", 0.3, False, 1, 1, 1))
    journal = tmp_path / "blocks.jsonl"
    plan = dataclasses.replace(PLAN, shared=True)
    told: list[str] = []
    outcomes = run("onnx", "python", plan, experiments, journal, told.append, [cell()])
    assert [(len(outcome.found), outcome.slower, outcome.is_met) for outcome in outcomes] == [
        (2, 0, True),
        (1, 1, True),
    ]
    assert told[0].startswith("same: 0 of 2 verdicts: ")
    kept = journal.read_bytes()
    assert run("onnx", "python", plan, experiments, journal, told.append, [cell()]) == outcomes
    assert journal.read_bytes() == kept


@pytest.mark.usefixtures("without_frameworks")
def test_planted_slow_down_that_is_not_found_is_not_met() -> None:
    missed = Experiment("slow", 0.0, False, 1, 1, 1)
    (outcome,) = run("onnx", "python", PLAN, [missed], Path("/dev/null"), lambda _: None, [cell()])
    assert not outcome.is_met


def test_company_runs_on_every_processor_while_it_is_asked_for() -> None:
    def spinning() -> int:
        return sum("while True" in " ".join(child.cmdline()) for child in psutil.Process().children())

    with campaign._company(EXPERIMENTS[1], 1):
        assert spinning() >= 1
    assert spinning() == 0
    with campaign._company(EXPERIMENTS[0], 1):
        assert spinning() == 0


def speed(verdict: SpeedVerdict, blocks: int = 12) -> Speed:
    effects = tuple(
        Effect(quantity, verdict if quantity is Quantity.STEADY else SpeedVerdict.OK, 1.0, 0.99, 1.01, blocks, 0, 0.021)
        for quantity in Quantity
    )
    one = cell()
    return Speed(one.network.name, one.variant, one.batch, effects)


def test_page_has_counts_with_their_exact_intervals() -> None:
    same = Outcome(EXPERIMENTS[0], (speed(SpeedVerdict.OK),) * 59 + (speed(SpeedVerdict.UNDECIDED),))
    caught = Outcome(EXPERIMENTS[3], (speed(SpeedVerdict.SLOWER),) * 19 + (speed(SpeedVerdict.UNDECIDED),))
    simulated = [Characteristic(0.05, "a noise", 200, Counter({SpeedVerdict.SLOWER: 150, SpeedVerdict.OK: 50}), 24.5)]
    page = markdown([same, caught], simulated, Plan(turns=6, shared=True), "onnx", "a processor", "2")
    assert "The plan is not the gate's own in this: turns 6 (10), shared True (False)." in page
    assert "| the same, A/A | 60 | 0 | 0 | 0.0% to 6.0% | 1 | 59 | 12 | +2.1% |" in page
    assert "| 5% extra work | 20 | 19 | 19 to 20 | 75.1% to 99.9% | 1 | 0 | 12 | +2.1% |" in page
    assert "| import | 60 | 0 | 0.0% to 6.0% | 0 |" in page
    assert "| a noise | +5% | 75.0% | 68.4% to 80.8% | 0.0% | 25.0% | 24.5 |" in page
    for before, line in itertools.pairwise(page.splitlines()):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


def test_shipped_page_has_the_marks() -> None:
    campaign.PAGE.require()


@pytest.mark.parametrize(
    "arguments", [["--framework", "theano"], ["--verdicts", "0"], ["--python", "onnx=/no/such/python"], ["more"]]
)
def test_wrong_option_is_an_input_error(arguments: list[str]) -> None:
    with pytest.raises(InputError):
        campaign.main(arguments)


@pytest.mark.usefixtures("without_frameworks")
def test_look_prints_its_table_and_leaves_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "FAMILIES", 2)
    monkeypatch.setattr(campaign, "CELLS", (("native", 1),))
    monkeypatch.setattr(campaign, "EXPERIMENTS", (EXPERIMENTS[0], dataclasses.replace(EXPERIMENTS[2], share=0.5)))
    before = campaign.PAGE.path.read_bytes()
    assert campaign.main(["--verdicts", "1", "--report", str(tmp_path)]) is Exit.PASSED
    assert campaign.PAGE.path.read_bytes() == before
    assert "| the same, A/A | 1 | 0 | 0 |" in capsys.readouterr().out
    assert (tmp_path / campaign.BLOCKS).exists()


def test_simulation_finds_large_effects_and_no_others() -> None:
    found = characteristics(15, Plan())
    assert len(found) == len(NOISES) * len(EFFECTS)
    by = {(one.noise, one.effect): one for one in found}
    for noise in NOISES[:2]:
        assert by[noise.name, 0.10].verdicts[SpeedVerdict.SLOWER] == 15 * CELLS
        assert by[noise.name, 0.0].verdicts[SpeedVerdict.SLOWER] == 0
        assert by[noise.name, 0.0].blocks < by[noise.name, 0.10].blocks
    for one in found:
        assert one.verdicts.total() == one.cells == 15 * CELLS
