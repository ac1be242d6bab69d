"""The action and the workflow: their shell steps run here, with the gate, `gh` and GitHub's files replaced."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gate.changed import Update
from gate.comment import CUT
from gate.matrix import listed
from gate.node import KEPT
from gate.options import parsed
from gate.report import write
from gate.verdict import Report
from tests.gate.findings import numerics
from tests.gate.findings import run as run_of

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "gate.yml").read_text(encoding="utf-8"))

STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SHELL_STEPS = {step["name"]: step for step in STEPS if "run" in step}
JOBS: dict[str, Any] = WORKFLOW["jobs"]

#: As GitHub runs `shell: bash`.
BASH = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c"]

#: Stands for the gate: writes what it was told, its report if it has one, and ends as it is told. What else is
#: run, is run.
GATE = f"""#!/bin/sh
if [ "$3" != gate ]; then exec {shlex.quote(sys.executable)} "$@"; fi
env | grep ^LOCKSTEP_ > "$RUNNER_TEMP/variables"
for word in "$@"; do echo "$word"; report=$word; done > "$RUNNER_TEMP/arguments"
echo "progress" >&2
if [ "$FAKE_CODE" -le 1 ]; then echo '| table |' > "$report/gate.md"; else echo "error: found no such version" >&2; fi
exit "$FAKE_CODE"
"""

#: Stands for gh: keeps what it was told, says whom the token belongs to, answers with comments that are there, through
#: the filter that it is given, or refuses.
GH = """#!/bin/sh
echo "$*" >> "$RUNNER_TEMP/gh"
case "$*" in
  *graphql*) echo "$FAKE_AUTHOR"; test -n "$FAKE_AUTHOR" ;;
  *--jq*) printf '%s' "$FAKE_COMMENTS" | jq "$5" ;;
  *) exit "$FAKE_REFUSED" ;;
esac
"""
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq, which gh has built in, is not on this machine")


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like GitHub's: programs in lockstep/gate/bin and bin, files for outputs and the summary."""
    for name, text in (("lockstep/gate/bin/python", GATE), ("bin/gh", GH)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def run(name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step of the action; every variable that it declares has to be given, or is empty."""
    step = SHELL_STEPS[name]
    declared = dict.fromkeys(step["env"], "")
    assert {key for key in environment if not key.startswith("FAKE_")} <= declared.keys()
    command = [*BASH, step["run"]]
    told = os.environ | declared | environment
    return subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True, check=False)


def workflows_of(document: str) -> list[dict[Any, Any]]:
    """The workflows that a document shows."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def outputs(runner: Path) -> dict[str, str]:
    lines = (runner / "GITHUB_OUTPUT").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def gate(runner: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("Gate", runner, ACTION="unused", REPORT="reports", FAKE_CODE=str(code), **environment)


def test_the_gate_is_told_what_the_inputs_say(runner: Path) -> None:
    done = gate(
        runner,
        BASELINE="torch==2.14.1 numpy==2.3.5",
        CANDIDATE="$(touch injected); `touch injected` ; 'x",
        FRAMEWORK="torch",
        SPECS="alexnet\nmy networks/one.yaml\n",
        ACCEPTED="our own/accepted.toml",
        OPTIONS="--batch 1,16 --note 'two words' $(touch injected)",
    )
    assert done.returncode == 0, done.stderr
    told = (runner / "arguments").read_text(encoding="utf-8").splitlines()
    assert told == [
        *("-P", "-m", "gate", "torch==2.14.1 numpy==2.3.5", "$(touch injected); `touch injected` ; 'x"),
        *("--framework", "torch", "--spec", "alexnet", "--spec", "my networks/one.yaml"),
        *("--accepted", "our own/accepted.toml"),
        *("--batch", "1,16", "--note", "two words", "$(touch", "injected)", "--report", str(runner / "reports")),
    ]
    assert not (runner / "injected").exists()


def test_interpreters_take_the_place_of_sides(runner: Path) -> None:
    gate(runner, BASELINE_PYTHON="old/python", CANDIDATE="jax==0.10.2")
    told = (runner / "arguments").read_text(encoding="utf-8").splitlines()
    assert told[3:] == ["jax==0.10.2", "--baseline-python", "old/python", "--report", str(runner / "reports")]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, "passed"), (1, "failed"), (2, "input"), (3, "not-run"), (4, "undecided"), (137, "not-run")],
)
def test_the_exit_code_is_the_verdict(runner: Path, code: int, verdict: str) -> None:
    done = gate(runner, code)
    assert done.returncode == 0, "reports are uploaded before the last step fails"
    assert "progress" in done.stderr
    assert outputs(runner) == {"verdict": verdict, "exit-code": str(code), "report": str(runner / "reports")}
    assert run("Verdict", runner, CODE=outputs(runner)["exit-code"]).returncode == code


def test_the_report_is_the_summary(runner: Path) -> None:
    gate(runner, 1)
    assert (runner / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8") == "| table |\n"


def test_without_a_report_the_error_is_the_summary_and_no_older_report(runner: Path) -> None:
    (runner / "reports").mkdir()
    (runner / "reports" / "gate.md").write_text("an older one\n", encoding="utf-8")
    gate(runner, 2)
    summary = (runner / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8")
    assert "**Gate: input**" in summary
    assert "error: found no such version" in summary
    assert "older" not in summary


MARK = "<!-- lockstep gate gate-jax -->"


def said(number: int, login: str, body: str) -> dict[str, Any]:
    """A comment as GitHub tells it."""
    return {"id": number, "user": {"login": login}, "body": body}


def comment(
    runner: Path, *earlier: dict[str, Any], author: str = "github-actions[bot]", refused: int = 0
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    gate(runner)
    told = {"ACTION": str(ROOT), "NAME": "gate-jax", "NUMBER": "7", "REPOSITORY": "them/theirs"}
    fake = {"FAKE_COMMENTS": json.dumps(earlier), "FAKE_AUTHOR": author, "FAKE_REFUSED": str(refused)}
    done = run("Comment on the pull request", runner, **told, **fake)
    return done, (runner / "gh").read_text(encoding="utf-8").splitlines()


@needs_jq
def test_the_table_is_commented_once_and_then_renewed(runner: Path) -> None:
    done, told = comment(runner)
    assert done.returncode == 0, done.stderr
    assert "POST repos/them/theirs/issues/7/comments" in told[-1]
    body = (runner / "lockstep" / "comment.md").read_text(encoding="utf-8")
    assert body == f"{MARK}\n| table |\n"
    done, told = comment(runner, said(41, "somebody", "hello"), said(42, "github-actions[bot]", body))
    assert "PATCH repos/them/theirs/issues/comments/42" in told[-1]


@needs_jq
@pytest.mark.parametrize(
    ("login", "body", "author"),
    [
        ("somebody", f"{MARK}\nmine", "github-actions[bot]"),
        ("another-app[bot]", f"{MARK}\nits own", "github-actions[bot]"),
        ("github-actions[bot]", "another comment of ours", "github-actions[bot]"),
        ("github-actions[bot]", "<!-- lockstep gate gate-jax-2 -->\nanother gate's", "github-actions[bot]"),
        ("github-actions[bot]", f"{MARK}\nof whom nobody knows", ""),
    ],
)
def test_a_comment_of_somebody_else_or_about_something_else_stays(
    runner: Path, login: str, body: str, author: str
) -> None:
    done, told = comment(runner, said(42, login, body), author=author)
    assert done.returncode == 0, done.stderr
    assert "POST repos/them/theirs/issues/7/comments" in told[-1]


def test_a_report_that_no_comment_holds_is_cut_between_lines(runner: Path) -> None:
    gate(runner)
    row = "| conv1 → conv2 |\n"
    (runner / "lockstep" / "summary.md").write_text(5000 * row, encoding="utf-8")
    told = {"ACTION": str(ROOT), "NAME": "gate-jax", "NUMBER": "7", "REPOSITORY": "them/theirs"}
    done = run("Comment on the pull request", runner, **told, FAKE_AUTHOR="", FAKE_REFUSED="0")
    assert done.returncode == 0, done.stderr
    body = (runner / "lockstep" / "comment.md").read_text(encoding="utf-8")
    assert 64_900 < len(body) < 65_536
    assert set(body.splitlines()) == {MARK, row.strip(), "", CUT}


def test_a_token_that_may_not_comment_fails_nothing(runner: Path) -> None:
    done, _ = comment(runner, refused=1)
    assert done.returncode == 0
    assert "::notice::" in done.stdout


def test_a_calibration_is_asked_for_no_report(runner: Path) -> None:
    assert gate(runner, OPTIONS="--calibrate --framework jax").returncode == 0
    told = (runner / "arguments").read_text(encoding="utf-8").splitlines()
    assert told[3:] == ["--calibrate", "--framework", "jax"]
    assert parsed(told[3:]).calibrate


def test_all_that_the_gate_can_use_again_is_kept_between_jobs(runner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEPT:
        monkeypatch.delenv(name, raising=False)
    gate(runner)
    told = dict(line.split("=", 1) for line in (runner / "variables").read_text(encoding="utf-8").splitlines())
    steps = [step for step in STEPS if step.get("uses", "").startswith("actions/cache")]
    for how in ("restore", "save"):
        used = (f"actions/cache/{how}@v4", "actions/cache@v4")
        found = [step["with"]["path"] for step in steps if step["uses"] in used]
        places = [path.replace("${{ runner.temp }}", str(runner)) for path in found]
        assert {name for name in told if any(Path(told[name]).is_relative_to(place) for place in places)} == KEPT.keys()
    saving = [step for step in steps if "/save" in step["uses"]]
    assert all("always()" in step["if"] for step in saving)
    restored = {step["with"]["key"]: step["with"]["restore-keys"] for step in steps if "/restore" in step["uses"]}
    assert restored.keys() == {step["with"]["key"] for step in saving}
    assert all(key.startswith(prefix) for key, prefix in restored.items())


def test_a_runner_may_say_where_it_keeps_things(runner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_CALIBRATIONS", "/kept/own.json")
    gate(runner)
    assert "LOCKSTEP_CALIBRATIONS=/kept/own.json" in (runner / "variables").read_text(encoding="utf-8").splitlines()


def key(runner: Path, **sides: str) -> str:
    (runner / "GITHUB_OUTPUT").write_text("", encoding="utf-8")
    output = sides.pop("output", "sides")
    assert run("Name what is kept", runner, ACTION=str(sides.pop("ACTION", ROOT)), **sides).returncode == 0
    return outputs(runner)[output]


def test_what_is_kept_is_named_by_the_content_of_both_sides(runner: Path) -> None:
    assert key(runner, BASELINE="jax==1", CANDIDATE="jax==2") == key(runner, BASELINE="jax==1", CANDIDATE="jax==2")
    assert key(runner, BASELINE="jax==1", CANDIDATE="jax==3") != key(runner, BASELINE="jax==1", CANDIDATE="jax==2")
    (runner / "a.txt").write_text("jax==1\n", encoding="utf-8")
    first = key(runner, BASELINE="a.txt", CANDIDATE="jax==2")
    (runner / "a.txt").write_text("jax==1.1\n", encoding="utf-8")
    assert key(runner, BASELINE="a.txt", CANDIDATE="jax==2") != first


def test_weights_are_named_by_networks_and_options(runner: Path) -> None:
    (runner / "own.yaml").write_text("name: one\n", encoding="utf-8")
    asked = {"SPECS": "alexnet\nown.yaml", "OPTIONS": "--seeds 5"}
    first = key(runner, output="networks", **asked)
    assert key(runner, output="networks", **asked, BASELINE="jax==1") == first
    assert key(runner, output="networks", **(asked | {"OPTIONS": "--seeds 7"})) != first
    (runner / "own.yaml").write_text("name: two\n", encoding="utf-8")
    assert key(runner, output="networks", **asked) != first


@pytest.mark.parametrize("include", ["-r", "-c"])
def test_what_is_kept_is_named_by_what_the_files_of_a_side_include_too(runner: Path, include: str) -> None:
    (runner / "side.txt").write_text(f"jax\n{include} more.txt\n", encoding="utf-8")
    found = []
    for text in ("jax==1.0\n", "jax==1.1\n", "jax==1.1\n"):
        (runner / "more.txt").write_text(text, encoding="utf-8")
        found.append(key(runner, BASELINE="side.txt", CANDIDATE="jax==2"))
    assert found[0] != found[1] == found[2]


def test_what_is_kept_is_named_by_what_lockstep_asks_for_too(runner: Path) -> None:
    own = runner / "action"
    shutil.copytree(ROOT / "requirements", own / "requirements")
    shutil.copy(ROOT / "pyproject.toml", own)
    for folder in ("gate", "impls", "spec"):
        (own / folder).symlink_to(ROOT / folder)
    before = key(runner, ACTION=str(own), BASELINE="jax==1")
    (own / "requirements" / "jax.txt").write_text("numpy==2.4\n", encoding="utf-8")
    assert key(runner, ACTION=str(own), BASELINE="jax==1") != before


def test_the_gates_own_requirements_are_installed() -> None:
    (name,) = re.findall(r'--requirement "\$ACTION/([^"]+)"', SHELL_STEPS["Install the gate"]["run"])
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("name", SHELL_STEPS)
def test_a_step_is_bash_and_expands_no_expression_within_its_script(name: str) -> None:
    step = SHELL_STEPS[name]
    assert step["shell"] == "bash"
    assert "${{" not in step["run"], "a value from outside would be run"
    assert subprocess.run(["bash", "-n", "-c", step["run"]], check=False).returncode == 0


def test_every_expression_names_what_there_is() -> None:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(ACTION["inputs"])
    ids = {step["id"] for step in STEPS if "id" in step}
    assert set(re.findall(r"steps\.([a-z-]+)\.outputs", text)) <= ids
    written = set(re.findall(r'echo "([a-z-]+)=', text))
    assert {name for step, name in re.findall(r"steps\.(gate|key)\.outputs\.([a-z-]+)", text)} == written


def test_the_workflow_gates_each_framework_that_changed_with_this_action() -> None:
    gating = JOBS["gate"]
    assert gating["strategy"]["matrix"]["update"] == "${{ fromJSON(needs.changed.outputs.updates) }}"
    used = next(step for step in gating["steps"] if step.get("uses") == "./")
    assert used["with"].keys() <= ACTION["inputs"].keys()
    fields = set(re.findall(r"matrix\.update\.([a-z]+)", str(used["with"])))
    assert fields <= set(Update.__dataclass_fields__)


def test_only_the_job_that_comments_may_write() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert JOBS["gate"]["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "permissions" not in JOBS["changed"]
    assert "pull_request_target" not in WORKFLOW[True]


@pytest.fixture(params=["of this repository", "of the docs"])
def workflow(request: pytest.FixtureRequest) -> dict[Any, Any]:
    """The workflow that gates every bump."""
    return WORKFLOW if request.param == "of this repository" else workflows_of("gate-in-ci.md")[1]


@pytest.mark.parametrize(
    ("changed", "updates", "gate", "passes"),
    [
        ("success", "[]", "skipped", True),
        ("success", '[{"framework": "jax"}]', "success", True),
        ("success", '[{"framework": "jax"}]', "failure", False),
        ("success", '[{"framework": "jax"}]', "cancelled", False),
        ("success", '[{"framework": "jax"}]', "skipped", False),
        ("failure", "", "skipped", False),
        ("cancelled", "", "skipped", False),
    ],
)
def test_the_check_to_require_fails_unless_all_that_changed_was_gated(
    workflow: dict[Any, Any], changed: str, updates: str, gate: str, passes: bool
) -> None:
    job = workflow["jobs"]["verdict"]
    assert job["needs"] == ["changed", "gate"]
    assert (job["if"], set(job) & {"strategy", "name"}) == ("always()", set())
    (step,) = job["steps"]
    assert step["env"] == {
        "CHANGED": "${{ needs.changed.result }}",
        "UPDATES": "${{ needs.changed.outputs.updates }}",
        "GATE": "${{ needs.gate.result }}",
    }
    told = os.environ | {"CHANGED": changed, "UPDATES": updates, "GATE": gate}
    done = subprocess.run([*BASH, step["run"]], env=told, stdout=subprocess.DEVNULL, check=False)
    assert (done.returncode == 0) is passes


def test_the_check_to_require_is_started_for_every_pull_request(workflow: dict[Any, Any]) -> None:
    assert workflow[True] == "pull_request"  # YAML 1.1 reads `on` as true


def test_the_workflow_finds_what_changed(runner: Path) -> None:
    (step,) = [step for step in JOBS["changed"]["steps"] if step.get("id") == "changed"]
    assert subprocess.run(["bash", "-n", "-c", step["run"]], check=False).returncode == 0
    repository = runner / "repository"
    (repository / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", repository)
    for folder in ("conformance", "gate", "impls", "spec"):
        (repository / folder).symlink_to(ROOT / folder)
    pins = repository / "requirements" / "jax.txt"
    pins.write_text("jax==0.9.2\nnumpy==2.4.6\n", encoding="utf-8")
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
    for command in (["init", "--quiet", "-b", "main"], ["add", "requirements"], ["commit", "--quiet", "-m", "before"]):
        subprocess.run(["git", *identity, *command], cwd=repository, check=True)
    pins.write_text("jax==0.10.2\nnumpy==2.4.6\n", encoding="utf-8")
    # `python` is this one; a symbolic link to it would not find its packages.
    script = f'python() {{ "{sys.executable}" "$@"; }}\n{step["run"]}'
    done = subprocess.run([*BASH, script], cwd=repository, env=os.environ | {"BASE": "main"}, check=False)
    assert done.returncode == 0
    (update,) = json.loads(outputs(runner)["updates"])
    assert (update["framework"], update["candidate"]) == ("jax", "requirements/jax.txt")
    before = JOBS["changed"]["steps"][-1]["with"]["path"]
    assert update["baseline"].startswith(before)
    assert (repository / update["baseline"]).read_text(encoding="utf-8").startswith("jax==0.9.2")


@pytest.mark.parametrize(
    "words",
    ["torch==2.14.1 torch==2.15.0 --seeds 7", "--baseline-python PYTHON jax==2 --batch 1,16",
     "--baseline-python PYTHON --candidate-python PYTHON2", "--baseline-report old.json jax==2 --framework jax"],
)  # fmt: skip
def test_a_cell_of_the_matrix_in_the_docs_is_run_by_the_action_as_it_is_listed(runner: Path, words: str) -> None:
    for name in ("PYTHON", "PYTHON2"):
        shutil.copy(runner / "bin" / "gh", runner / name)
    (cell,) = listed([str(runner / word) if word.startswith("PYTHON") else word for word in words.split()])["include"]
    (workflow,) = workflows_of("gate.md")
    (step,) = workflow["jobs"]["gate"]["steps"]
    given = {name: re.sub(r"\$\{\{ matrix\.(\w+) }}", lambda field: cell[field[1]], text)
             for name, text in step["with"].items() if "matrix." in text}  # fmt: skip
    inputs = {"spec": "SPECS"} | {name: name.replace("-", "_").upper() for name in given if name != "spec"}
    assert gate(runner, 0, **{inputs[name]: text for name, text in given.items()}).returncode == 0
    told = (runner / "arguments").read_text(encoding="utf-8").splitlines()[3:]
    of_the_action = {"report": str(runner / "reports"), "framework": cell["framework"] or None}
    assert vars(parsed(told)) == vars(parsed(shlex.split(cell["arguments"]))) | of_the_action


@pytest.mark.parametrize(("codes", "passes"), [("0 0", True), ("0", False), ("", False)])
def test_the_matrix_in_the_docs_ends_with_one_verdict(runner: Path, codes: str, passes: bool) -> None:
    (workflow,) = workflows_of("gate.md")
    job = workflow["jobs"]["merge"]
    assert (job["needs"], job["if"]) == (["cells", "gate"], "always()")
    upload = workflow["jobs"]["cells"]["steps"][-1]["with"]
    cells = runner / job["steps"][-2]["with"]["path"] / upload["name"] / upload["path"]
    cells.parent.mkdir(parents=True)
    networks = ["alexnet", "caffenet"]
    matrix = listed(["jax==0.9.2", "jax==0.10.2", *(word for name in networks for word in ("--spec", name))])
    cells.write_text(json.dumps(matrix), encoding="utf-8")
    for index, network in list(enumerate(networks))[: len(codes.split())]:
        write(Report((run_of(numerics(network=network)),)), runner / "found" / f"gate-{index}")
    script = f'python() {{ PYTHONPATH={shlex.quote(str(ROOT))} "{sys.executable}" "$@"; }}\n{job["steps"][-1]["run"]}'
    done = subprocess.run([*BASH, script], cwd=runner, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is passes, done.stderr
    assert "Traceback" not in done.stderr
    assert ("Gate" in (runner / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8")) is bool(codes)


def test_the_workflows_of_the_docs_are_valid_and_use_what_the_action_has() -> None:
    workflows = workflows_of("gate-in-ci.md")
    steps = [step for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"]]
    used = [step["with"] for step in steps if step.get("uses", "").startswith("OWNER/lockstep")]
    assert len(used) == 2
    assert all(given.keys() <= ACTION["inputs"].keys() for given in used)
    text = (ROOT / "docs" / "gate-in-ci.md").read_text(encoding="utf-8")
    for name in (*ACTION["inputs"], *ACTION["outputs"]):
        assert f"`{name}`" in text
