"""`python -m conformance train` as users run it, on a worker that trains in NumPy."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.train import command
from conformance.train.checkpoint import Checkpoint, read
from spec.exits import Exit, InputError, NotRunError
from spec.load import load
from spec.tensors import read as read_tensors
from tests.conformance.train.specs import COLOURFUL, TINY, changed
from tests.conformance.train.test_dataset import pictures

ROOT = Path(__file__).parents[3]
CHECKPOINT = Path("reports", "checkpoints", "tiny-mine.safetensors")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the spec of a tiny network."""
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def stand_in(*fault: str, name: str = "mine") -> tuple[str, ...]:
    worker = f"{sys.executable} -m tests.conformance.train.stand_in {' '.join(fault)}"
    return ("--runner", f"{name}={worker}")


def arguments(*more: str, spec: str = "tiny.yaml") -> list[str]:
    return ["--spec", spec, "--frameworks", "none", "--threads", "1", *(more or stand_in())]


def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("reports", "train.json").read_text(encoding="utf-8"))
    assert found["format"] == "lockstep-train/1"
    return found


def without_durations(stage: Checkpoint) -> Checkpoint:
    return replace(stage, epochs=tuple(replace(epoch, duration_s=0.0) for epoch in stage.epochs))


def assert_bit_identical(one: Path, other: Path) -> None:
    first, second = without_durations(read(one)), without_durations(read(other))
    assert (first.identity, first.epochs, first.step) == (second.identity, second.epochs, second.step)
    assert np.array_equal(first.losses, second.losses)
    for part in ("parameters", "velocities"):
        before, after = getattr(first, part), getattr(second, part)
        assert before.keys() == after.keys()
        assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_training_learns_and_leaves_report_checkpoint_and_weights(place: Path) -> None:
    assert command.main(arguments("--at-most", "30", *stand_in(), "--frameworks", "onnx")) is Exit.PASSED
    found = report()
    mine, onnx = found["runs"]
    assert (found["verdict"], mine["outcome"], onnx["outcome"]) == ("passed", "passed", "skipped")
    assert "out of scope for ONNX" in onnx["message"]
    assert [epoch["rate"] for epoch in mine["epochs"]][:2] == [0.1, 0.1]
    assert [epoch["bias_rate"] for epoch in mine["epochs"]] == [0.2] * 4
    losses = [epoch["training_loss"] for epoch in mine["epochs"]]
    assert losses == sorted(losses, reverse=True)
    assert mine["tested"]["images"] == 269
    assert (mine["steps"], found["steps_an_epoch"]) == (4 * 19, 19)
    markdown = Path("reports", "train.md").read_text(encoding="utf-8")
    assert "✅ passed" in markdown and "train-curves.svg" in markdown
    assert "<svg" in Path("reports", "train-curves.svg").read_text(encoding="utf-8")
    trained = read_tensors(Path("reports", "trained", "tiny-mine.safetensors"))
    kept = read(CHECKPOINT)
    assert {name: value.shape for name, value in trained.items()} == load("tiny.yaml").tensor_shapes
    assert all(np.array_equal(trained[name], kept.parameters[name]) for name in trained)
    assert kept.is_finished


def test_an_error_above_what_was_asked_for_fails(place: Path) -> None:
    assert command.main(arguments("--at-most", "1", "--epochs", "1", *stand_in())) is Exit.DIVERGED
    (run,) = report()["runs"]
    assert run["outcome"] == "failed"
    assert "expected a test error of at most 1% (--at-most), found" in run["message"]


def test_the_schedule_follows_the_validation_errors(place: Path) -> None:
    eager = changed(
        ("factor: 0.1, drops: 1, patience: 2", "factor: 0.5, drops: 2, patience: 1"), ("rate: 0.1", "rate: 3.0")
    )
    Path("tiny.yaml").write_text(eager, encoding="utf-8")
    command.main(arguments())
    epochs = report()["runs"][0]["epochs"]
    least, drops, expected = float("inf"), 0, []
    for epoch in epochs:
        expected.append(3.0 * 0.5**drops)
        if epoch["validation_error_percent"] >= least and drops < 2:
            drops += 1
        least = min(least, epoch["validation_error_percent"])
    assert drops > 0, "a rate of 3 has epochs that are no better"
    assert [epoch["rate"] for epoch in epochs] == expected


def test_the_suite_killed_in_the_middle_of_an_epoch_resumes_to_the_same_bits(place: Path) -> None:
    command.main(arguments())
    whole = place / "whole.safetensors"
    CHECKPOINT.rename(whole)
    killed = arguments("--checkpoint-steps", "5", *stand_in("kill_suite", "33"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "conformance", "train", *killed], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    stopped = read(CHECKPOINT)
    assert (len(stopped.epochs), stopped.step, len(stopped.losses)) == (1, 11, 30)
    assert command.main(arguments("--resume", *stand_in())) is Exit.PASSED
    assert report()["runs"][0]["resumed_steps"] == 30
    assert_bit_identical(whole, CHECKPOINT)


def test_a_run_goes_on_to_more_epochs_as_if_they_had_been_asked_for(place: Path) -> None:
    command.main(arguments())
    whole = place / "whole.safetensors"
    CHECKPOINT.rename(whole)
    for epochs in ("1", "3", "4"):
        assert command.main(arguments("--resume", "--epochs", epochs, *stand_in())) is Exit.PASSED
    assert_bit_identical(whole, CHECKPOINT)
    assert command.main(arguments("--resume", *stand_in())) is Exit.PASSED  # is done: only tested again
    assert_bit_identical(whole, CHECKPOINT)


def test_another_version_of_what_made_a_checkpoint_is_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command.main(arguments("--epochs", "1", *stand_in()))
    command.main(arguments("--epochs", "2", "--resume", *stand_in(), "--threads", "2"))
    assert "mine: the checkpoint is of threads 1, this is 2: bits may differ" in capfd.readouterr().err


def test_a_loss_that_is_no_number_stops_that_runner_alone(place: Path) -> None:
    both = (*stand_in("nan", "25"), *stand_in(name="other"))
    assert command.main(arguments("--epochs", "2", *both)) is Exit.DIVERGED
    mine, other = report()["runs"]
    assert (mine["outcome"], other["outcome"], report()["verdict"]) == ("failed", "passed", "failed")
    assert "epoch 1, step 5: expected a finite loss, found nan; lower training.schedule.rate" in mine["message"]
    assert "tiny-mine.safetensors stays as it was" in mine["message"]
    assert len(read(CHECKPOINT).epochs) == 1
    assert not Path("reports", "trained", "tiny-mine.safetensors").exists()


def test_a_rate_that_is_too_high_ends_with_one_line_and_no_checkpoint(place: Path) -> None:
    Path("tiny.yaml").write_text(changed(("rate: 0.1", "rate: 1.0e+30")), encoding="utf-8")
    assert command.main(arguments()) is Exit.DIVERGED
    (run,) = report()["runs"]
    assert "epoch 0, step" in run["message"] and "expected a finite loss" in run["message"]
    assert not CHECKPOINT.exists()
    assert not Path("reports", "train-curves.svg").exists()


def test_parameters_that_are_no_numbers_never_become_a_checkpoint(place: Path) -> None:
    # The last step of an epoch: no loss of it shows what became of the parameters.
    command.main(arguments("--epochs", "2", *stand_in("poison", "38")))
    (run,) = report()["runs"]
    assert run["outcome"] == "failed"
    assert "expected finite probabilities" in run["message"]
    assert len(read(CHECKPOINT).epochs) == 1
    Path("reports").rename("before")
    command.main(arguments("--epochs", "2", "--checkpoint-steps", "10", *stand_in("poison", "30")))
    assert "expected finite parameters" in report()["runs"][0]["message"]
    assert len(read(CHECKPOINT).losses) == 20


def test_a_worker_that_crashes_is_errored_and_others_stand(place: Path) -> None:
    both = (*stand_in("crash", "25"), *stand_in(name="other"))
    assert command.main(arguments("--epochs", "2", *both)) is Exit.NOT_RUN
    mine, other = report()["runs"]
    assert (mine["outcome"], other["outcome"], report()["verdict"]) == ("errored", "passed", "errored")
    assert "crashed: train: the worker ended with exit code 7" in mine["message"]
    assert len(mine["epochs"]) == 1
    assert command.main(arguments("--epochs", "2", "--resume", *stand_in(), *stand_in(name="other"))) is Exit.PASSED
    other_one = CHECKPOINT.with_name("tiny-other.safetensors")
    assert_bit_identical(CHECKPOINT, other_one)
    assert report()["steps_together"] == 38


def test_nobody_who_trains_could_not_be_run(place: Path) -> None:
    options = ["--spec", "tiny.yaml", "--frameworks", "onnx"]
    assert command.main(options) is Exit.NOT_RUN
    assert [run["outcome"] for run in report()["runs"]] == ["skipped"]


def test_images_of_a_folder_are_augmented_and_tested_by_ten_crops(place: Path) -> None:
    Path("colourful.yaml").write_text(COLOURFUL, encoding="utf-8")
    pictures(place / "images", "abc", 10)
    options = arguments("--data", "images", "--epochs", "2", *stand_in(), spec="colourful.yaml")
    assert command.main(options) is Exit.PASSED
    found = report()
    assert found["data"] == {"name": "images", "classes": 3, "images": {"train": 22, "validation": 4, "test": 4}}
    (run,) = found["runs"]
    assert (run["steps"], run["tested"]["images"]) == (10, 4)


def test_a_folder_without_test_images_is_tested_on_those_of_validation(place: Path) -> None:
    Path("colourful.yaml").write_text(COLOURFUL, encoding="utf-8")
    pictures(place / "images" / "train", "ab", 3)
    pictures(place / "images" / "val", "ab", 2)
    options = arguments("--data", "images", "--epochs", "1", *stand_in(), spec="colourful.yaml")
    assert command.main(options) is Exit.PASSED
    assert report()["tested_split"] == "validation"
    assert "test error" not in Path("reports", "train.md").read_text(encoding="utf-8")


# --- Wrong input: one line, exit code 2, nothing lost -----------------------------------------------------------------


def spec_with(*replacements: tuple[str, str]) -> None:
    Path("tiny.yaml").write_text(changed(*replacements), encoding="utf-8")


def without_section(name: str) -> str:
    lines = TINY.splitlines(keepends=True)
    start = lines.index(f"{name}:\n")
    end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith(" ")), len(lines))
    return "".join(lines[:start] + lines[end:])


@pytest.mark.parametrize(
    ("replacement", "says"),
    [
        (("momentum: 0.9", "momentum: 1.0"), "training.optimizer.momentum: expected less than 1"),
        (("momentum: 0.9", "momentum: -0.1"), "training.optimizer.momentum: expected at least 0"),
        (("drop_probability: 0.25", "drop_probability: 1.0"), "tiny.yaml:14: layer 'drop2'"),
        (("drop_probability: 0.25", "drop_probability: -0.5"), "layer 'drop2'"),
        (("patience: 2", "patience: 3"), "and so never comes"),
        (("batch: 64", "batch: 2000"), "expected at least training.batch = 2000 training images, found 1259"),
        (("centre_crop: 8", "centre_crop: 6"), "centre_crop: expected at least the 7×7 pixels of the network's input"),
    ],
)
def test_a_spec_that_cannot_be_trained_is_refused(place: Path, replacement: tuple[str, str], says: str) -> None:
    spec_with(replacement)
    before = contents(place)
    with pytest.raises(InputError) as raised:
        command.main(arguments())
    assert says in str(raised.value)
    assert contents(place) == before


@pytest.mark.parametrize("section", ["preprocessing", "training", "evaluation"])
def test_a_spec_without_a_section_is_refused_by_its_name(place: Path, section: str) -> None:
    Path("tiny.yaml").write_text(without_section(section), encoding="utf-8")
    with pytest.raises(InputError, match=f"tiny: expected a section '{section}', found none"):
        command.main(arguments())


def test_more_classes_than_logits_are_refused(place: Path) -> None:
    Path("colourful.yaml").write_text(COLOURFUL, encoding="utf-8")
    pictures(place / "images", "abcdefghijk", 9)
    with pytest.raises(InputError, match="images: expected at most 10 classes, the logits 'fc3' of tiny, found 11"):
        command.main(arguments("--data", "images", *stand_in(), spec="colourful.yaml"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--frameworks", "caffe"), "found 'caffe'"),
        (("--epochs", "0"), "found '0'"),
        (("--seed", "-1"), "found '-1'"),
        (("--at-most", "101"), "expected a share from 0 to 100, found '101'"),
        (("--at-most", "nan"), "expected a share from 0 to 100, found 'nan'"),
        (("--checkpoint-steps", "0"), "found '0'"),
        (("--data", "nowhere"), "nowhere: expected a folder of images, found: No such file or directory"),
        (("--data", "tiny.yaml"), "tiny.yaml: expected a folder of images"),
        (("--resume-from", "x"), "--resume-from"),
        (("--spec", "lenet"), "'lenet': expected a spec file"),
        (("--device", "tpu"), "'tpu'"),
        (("--dtype", "bf16"), "'bf16'"),
    ],
)
def test_wrong_options_are_refused(place: Path, options: tuple[str, ...], says: str) -> None:
    before = contents(place)
    with pytest.raises(InputError) as raised:
        command.main([*arguments(), *options])
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert contents(place) == before


def other_network() -> None:
    spec_with(("drop_probability: 0.25", "drop_probability: 0.5"))


def other_recipe() -> None:
    spec_with(("weight_decay: 0.0005", "weight_decay: 0.001"))


def truncate() -> None:
    CHECKPOINT.write_bytes(CHECKPOINT.read_bytes()[:-100])


def nothing() -> None:
    """Only the options differ."""


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (other_network, ("--resume",), "expected a checkpoint of the same graph of the network"),
        (other_recipe, ("--resume",), "expected a checkpoint of the same recipe"),
        (nothing, ("--resume", "--seed", "1"), "expected a checkpoint of the same data set, or its splits"),
        (nothing, ("--resume", "--epochs", "1"), "expected a run of at most --epochs 1, found one of 2"),
        (nothing, (), "expected no unfinished run here, found one after 2 of 4 epochs; go on with --resume"),
        (truncate, ("--resume",), "bytes of data, found"),
        (truncate, (), "bytes of data, found"),
    ],
)
def test_a_checkpoint_that_is_not_of_this_run_is_refused_and_stays(
    place: Path, change: Any, options: tuple[str, ...], says: str
) -> None:
    # A run of four epochs that crashes in its third.
    assert command.main(arguments(*stand_in("crash", "45"))) is Exit.NOT_RUN
    change()
    before = contents(place / "reports")
    with pytest.raises(InputError) as raised:
        command.main(arguments(*options, *stand_in()))
    assert says in str(raised.value)
    assert str(CHECKPOINT) in str(raised.value)
    assert contents(place / "reports") == before


def test_two_runs_do_not_share_a_folder(place: Path) -> None:
    from conformance.train.stages import alone

    with (
        alone(Path("reports")),
        pytest.raises(NotRunError, match="reports: expected no run, found one that trains; name another --report"),
    ):
        command.main(arguments())


def test_a_report_that_cannot_be_written_is_told_before_anything_is_trained(place: Path) -> None:
    Path("reports").write_bytes(b"")
    with pytest.raises(NotRunError, match="reports: expected to make folders in it"):
        command.main(arguments())


def test_an_image_that_is_none_ends_the_program_with_one_line_and_exit_code_2(place: Path) -> None:
    Path("colourful.yaml").write_text(COLOURFUL, encoding="utf-8")
    pictures(place / "images", "ab", 10)
    (place / "images" / "b" / "3.png").write_text("no image")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "conformance", "train", "--data", "images", "--spec", "colourful.yaml"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: images/b/3.png: expected an image, found: cannot identify image file")
    assert "Traceback" not in done.stderr
