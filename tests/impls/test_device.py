"""What is told of a GPU, by a tool of NVIDIA's name that a test wrote."""

from pathlib import Path

import pytest

from impls.device import QUERIES, device_facts

TOLD = "NVIDIA H200, 570.86.15, 143771 MiB, 345 MHz, 1980 MHz, 3201 MHz, 3201 MHz, 700.00 W"


def tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_facts_are_those_that_the_tool_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, f"echo \"$@\" >> {tmp_path}/asked; echo '{TOLD}'", monkeypatch)
    assert device_facts() == {
        "device": "NVIDIA H200",
        "driver": "570.86.15",
        "device_memory": "143771 MiB",
        "clock_sm": "345 MHz",
        "clock_sm_max": "1980 MHz",
        "clock_memory": "3201 MHz",
        "clock_memory_max": "3201 MHz",
        "power_limit": "700.00 W",
    }
    asked = (tmp_path / "asked").read_text(encoding="utf-8")
    assert asked == f"--id=0 --query-gpu={','.join(QUERIES)} --format=csv,noheader\n"


def test_the_gpu_that_cuda_shows_first_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, f"echo \"$1\" > {tmp_path}/asked; echo '{TOLD}'", monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert device_facts()["device"] == "NVIDIA H200"
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "--id=3\n"


@pytest.mark.parametrize("script", ["echo 'No devices were found'; exit 6", "echo 'No devices were found'", "exit 0"])
def test_a_tool_that_finds_no_gpu_tells_nothing(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, script, monkeypatch)
    assert device_facts() == {}


def test_without_the_tool_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device_facts() == {}
