"""Wrong options of `python -m bench`: one line on stderr, exit code 2, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "0"], "expected a whole number from 1 to 1000000, found '0'"),
        (["--batch", "1,x"], "found 'x'"),
        (["--device", "tpu"], "expected names of cpu, cuda, found 'tpu'"),
        (["--frameworks", "caffe"], "expected names of torch, jax, tensorflow, onnx, found 'caffe'"),
        (["--lowering", "slow"], "expected names of native, fast, found 'slow'"),
        (["--mode", "torch=xla"], "expected one of eager, compiled, graphs or all for torch, found 'xla'"),
        (["--dtype", "tf32"], "expected --device cuda beside it"),
        (["--workload", "dance"], "invalid choice: 'dance'"),
        (["--spec", "nowhere"], "expected a spec file or one of alexnet"),
        (["--python", "torch=nowhere"], "expected an interpreter, found none"),
        (["--chunk", "-1"], "expected seconds above 0"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["compare", "a.json"], "the following arguments are required: after"),
        (["compare", "a.json", "b.json"], "a.json: expected a readable report"),
    ],
)
def test_wrong_option_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    report = [] if arguments[0] == "compare" else ["--report", str(tmp_path / "reports")]
    command = [sys.executable, "-m", "bench", *arguments, *report]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
