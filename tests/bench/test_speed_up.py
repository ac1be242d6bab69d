"""CPU against GPU: the table, the picture and the words of rows that a test chose."""

from dataclasses import replace

import pytest

from bench.environment import capture
from bench.markdown import markdown_text
from bench.pictures import pictures
from bench.speed_up import speed_ups
from bench.statistics import Ratio
from bench.table import cells, remarks
from bench.terminal import show
from impls.frameworks import Variant
from tests.bench.synthetic import report, row, variant

CUDA = replace(variant(), device="cuda")
GRAPHS = replace(CUDA, mode="graphs", dtype="bf16")
MISSING = "missing_device: load: no cuda device for jax; found cpu"
BOTH = report(
    row(variant(), 1, [(0.020,), (0.022,)]),
    row(CUDA, 1, [(0.010,), (0.011,)]),
    row(GRAPHS, 1, [(0.002,), (0.0022,)]),
    row(variant("jax"), 1, [(0.020,)]),
    row(replace(variant("jax"), device="cuda"), 1, [], "skipped", MISSING),
    row(variant(), 64, [(0.8,)]),
    row(CUDA, 64, [(0.02,)]),
    row(GRAPHS, 64, [], "errored", "out of memory: time: no room"),
    row(variant("jax"), 64, [(0.8,)]),
    row(replace(variant("jax"), device="cuda"), 64, [], "skipped", MISSING),
)


def test_variant_is_compared_with_the_same_one_on_the_cpu_batch_by_batch() -> None:
    first = speed_ups(BOTH)[0]
    assert (first.on_cuda, first.on_cpu) == (CUDA, variant())
    values = [found.value for found in first.by_batch.values() if isinstance(found, Ratio)]
    assert values == pytest.approx([2.0, 40.0])
    assert first.cells([1, 64]) == (
        "torch cuda float32 eager native : torch cpu float32 eager native",
        "2.00 [2.00, 2.00]",
        "40.00 [40.00, 40.00]",
    )


def test_mode_that_only_a_gpu_has_is_compared_with_a_mode_of_the_cpu_in_float32() -> None:
    graphs = speed_ups(BOTH)[1]
    assert (graphs.on_cuda, graphs.on_cpu) == (GRAPHS, variant())
    assert graphs.cells([1, 64])[1:] == ("10.00 [10.00, 10.00]", "cuda errored")


def test_missing_device_is_named_in_the_table_and_in_the_words_once_for_all_batches() -> None:
    assert speed_ups(BOTH)[2].cells([1, 64])[1:] == ("cuda skipped", "cuda skipped")
    said = [remark for remark in remarks(BOTH) if "jax" in remark]
    assert said == [f"jax cuda float32 eager native, batch 1, 64: skipped: {MISSING}"]


def test_markdown_terminal_and_picture_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = pictures(BOTH)
    assert "bench-cpu-cuda.svg" in drawn
    text = markdown_text(BOTH, list(drawn))
    assert "| cuda : cpu | batch 1 | batch 64 |" in text
    assert "| torch cuda float32 eager native : torch cpu float32 eager native | 2.00 [2.00, 2.00] |" in text
    assert "| jax cuda float32 eager native : jax cpu float32 eager native | cuda skipped | cuda skipped |" in text
    show(BOTH, [])
    printed = capsys.readouterr().out
    assert "times as fast as the CPU" in printed
    assert "cuda skipped" in printed


def test_one_device_alone_has_no_such_table() -> None:
    alone = report(BOTH.rows[0], BOTH.rows[5])
    assert speed_ups(alone) == []
    assert "cuda : cpu |\n" not in markdown_text(alone, [])
    assert "bench-cpu-cuda.svg" not in pictures(alone)


def test_limits_of_the_cpu_say_nothing_of_a_gpu_nor_of_another_precision() -> None:
    assert BOTH.fraction(BOTH.rows[0]) is not None
    assert BOTH.fraction(BOTH.rows[1]) is None
    assert cells(BOTH, BOTH.rows[1])[7] == ""
    half = replace(BOTH.rows[0], variant=Variant("torch", "cpu", "bf16", "eager", "native"))
    whole_bytes, half_bytes = BOTH.bytes_per_s(BOTH.rows[0]), BOTH.bytes_per_s(half)
    assert whole_bytes is not None
    assert half_bytes == pytest.approx(whole_bytes / 2)


def test_memory_of_the_device_stands_beside_that_of_the_process() -> None:
    assert cells(BOTH, replace(BOTH.rows[1], device_peak_bytes=3 * 2**20))[13] == "1,024 (3)"
    assert cells(BOTH, BOTH.rows[0])[13] == "1,024"


def test_machine_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert capture(1)["device"] == "no cuda device: nvidia-smi shows none"


def test_markdown_tells_what_frameworks_said_of_themselves() -> None:
    told = replace(BOTH.rows[0], environment={"cudnn": "91002", "clock_sm": "1980 MHz"})
    assert "| torch 1.0 | cudnn 91002, clock_sm 1980 MHz |" in markdown_text(report(told), [])
