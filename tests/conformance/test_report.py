"""The three files of a report: what they hold, what they cannot be made to hold, and that all or none are written."""

import json
import re
from math import inf, nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conformance.junit import junit_text
from conformance.markdown import markdown_text
from conformance.report import Report
from conformance.results import Check, Outcome, Result
from conformance.terminal import show
from spec.exits import Exit, NotRunError
from tests.conformance.synthetic import column, narrow, result, variant

NAMES = ["conformance.json", "conformance.md", "conformance.xml"]

#: Text that a runner, a file's name or a framework's version may hold.
HOSTILE = (
    '"><script>alert(1)</script> | ](http://x) `code` **bold** [b]bold[/b]\n# Heading\r\x00\x1b[31m & ~~ \ud800 ]]>'
)


def report(*results: Result) -> Report:
    """A report with one column a variant."""
    variants = dict.fromkeys(each.variant for each in results)
    return Report(narrow(), [column(*[each for each in results if each.variant == own]) for own in variants], 2)


MIXED = report(
    result("conv1", noise_rms=3.5, noise_max=20.0, effective_bits=23.5, worst=20.0, unit="noise units"),
    result("relu1", effective_bits=inf, worst=0.0, unit="off"),
    result("conv2", Outcome.FAILED, noise_rms=nan, noise_max=inf, effective_bits=0.0, worst=inf, message="at [0] …"),
    result("norm1", Outcome.XFAILED, message="expected to fail: …"),
    result("conv1", Outcome.SKIPPED, variant=variant("mine"), message="the runner cannot substitute"),
    result("", Outcome.ERRORED, variant=variant("jax"), check=Check.RUN, message="crash: signal 11"),
)


def strict(text: str) -> Any:
    """JSON as its standard has it: no NaN, no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_has_the_fields_of_the_design(tmp_path: Path) -> None:
    MIXED.write(tmp_path)
    found = strict((tmp_path / "conformance.json").read_text(encoding="utf-8"))
    assert found["format"] == "lockstep-conformance/1"
    assert found["verdict"] == "failed"
    fields = (
        "network framework version device dtype mode lowering case tap check outcome noise_rms noise_max "
        "effective_bits message"
    )
    for each in found["results"]:
        assert set(fields.split()) <= each.keys()
    first = found["results"][0]
    assert {key: first[key] for key in fields.split()} == {
        "network": "alexnet_narrow",
        "framework": "torch",
        "version": "2.9.0",
        "device": "cpu",
        "dtype": "float32",
        "mode": "eager",
        "lowering": "native",
        "case": "scaled-photographs-seed0-batch2",
        "tap": "conv1",
        "check": "local",
        "outcome": "passed",
        "noise_rms": 3.5,
        "noise_max": 20.0,
        "effective_bits": 23.5,
        "message": "",
    }


def test_json_names_versions_threads_and_devices(tmp_path: Path) -> None:
    MIXED.write(tmp_path)
    found = strict((tmp_path / "conformance.json").read_text(encoding="utf-8"))
    suite = found["environments"]["suite"]
    assert suite["threads"] == "2"
    assert all(suite[key] for key in ("python", "numpy", "platform", "processor", "cores"))
    assert found["environments"]["torch cpu float32 eager native"] == {"platform": "Linux", "version": "2.9.0"}
    assert [column["observed_device"] for column in found["variants"]] == ["cpu", "cpu", "cpu"]


def test_what_is_infinite_or_no_number_is_null_in_json() -> None:
    wrong = MIXED.fields()["results"][2]
    assert [wrong[key] for key in ("noise_rms", "noise_max", "worst")] == [None, None, None]


def test_outcomes_are_counted_apart() -> None:
    assert MIXED.fields()["outcomes"] == {"passed": 2, "failed": 1, "errored": 1, "skipped": 1, "xfailed": 1}


@pytest.mark.parametrize(
    ("outcomes", "verdict", "code"),
    [
        ("passed", "passed", 0),
        ("passed xfailed skipped", "passed", 0),
        ("passed failed", "failed", 1),
        ("failed errored passed", "failed", 1),
        ("passed errored", "errored", 3),
        ("skipped", "errored", 3),
        ("xfailed", "errored", 3),
        ("errored", "errored", 3),
    ],
)
def test_the_verdict_decides_the_exit_code(outcomes: str, verdict: str, code: int) -> None:
    found = report(*[result(outcome=Outcome(outcome)) for outcome in outcomes.split()])
    assert (found.verdict, found.exit) == (verdict, Exit(code))


def failed(tap: str, check: Check = Check.LOCAL, case: str = "a", framework: str = "torch") -> Result:
    return result(tap, Outcome.FAILED, check=check, case=case, variant=variant(framework))


def firsts(*results: Result) -> list[tuple[str, str, str, str]]:
    found = report(*results).first_divergences
    return [(each.variant.framework, each.case, each.tap, str(each.check)) for each in found]


def test_the_first_divergence_is_the_first_in_the_order_of_the_graph() -> None:
    for order in (("fc8", "norm2", "pool5"), ("norm2", "fc8", "pool5"), ("pool5", "fc8", "norm2")):
        assert firsts(*map(failed, order)) == [("torch", "a", "norm2", "local")]


def test_what_an_operator_does_by_itself_comes_before_what_its_inputs_did() -> None:
    end_to_end, untapped = failed("conv1", Check.END_TO_END), failed("fc8", Check.UNTAPPED)
    assert firsts(untapped, end_to_end, failed("conv2")) == [("torch", "a", "conv2", "local")]
    assert firsts(untapped, end_to_end) == [("torch", "a", "conv1", "end_to_end")]
    assert firsts(untapped) == [("torch", "a", "fc8", "untapped")]


def test_every_variant_and_case_has_its_own_first_divergence() -> None:
    results = [
        failed("conv2"), failed("conv1", case="b"), failed("fc8", framework="jax"), failed("fc7", framework="jax"),
        result("conv1"), result("conv1", Outcome.XFAILED), result("", Outcome.ERRORED),
    ]  # fmt: skip
    assert firsts(*results) == [
        ("torch", "a", "conv2", "local"), ("torch", "b", "conv1", "local"), ("jax", "a", "fc7", "local"),
    ]  # fmt: skip
    assert firsts(result()) == []


def test_junit_is_xml_and_its_counts_agree() -> None:
    suites = ElementTree.fromstring(junit_text(MIXED.fields()).encode()).findall("testsuite")
    assert [suite.get("name") for suite in suites] == [
        "torch cpu float32 eager native", "mine cpu float32 eager native", "jax cpu float32 eager native",
    ]  # fmt: skip
    for suite in suites:
        assert suite.get("tests") == str(len(suite.findall("testcase")))
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(count) == str(len(suite.findall(f"testcase/{tag}")))
    torch, mine, jax = suites
    assert [torch.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "1", "0", "1"]
    assert [mine.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["1", "0", "0", "1"]
    assert [jax.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["1", "0", "1", "0"]
    assert [(test.get("classname"), test.get("name")) for test in jax] == [
        ("alexnet_narrow.jax.scaled-photographs-seed0-batch2", "worker run")
    ]


@pytest.fixture
def hostile() -> Report:
    """A report in which all that can come from outside is hostile."""
    own = report(
        result("conv1", Outcome.FAILED, message=HOSTILE, case=HOSTILE, version=HOSTILE),
        result("", Outcome.ERRORED, check=Check.RUN, message=HOSTILE, case=HOSTILE),
    )
    own.columns[0].version = own.columns[0].observed_device = HOSTILE
    own.columns[0].environment = {HOSTILE: HOSTILE}
    return own


def test_hostile_text_leaves_json_and_xml_whole(hostile: Report, tmp_path: Path) -> None:
    hostile.write(tmp_path)
    found = strict((tmp_path / "conformance.json").read_text(encoding="utf-8"))
    assert found["results"][0]["message"] == HOSTILE
    root = ElementTree.parse(tmp_path / "conformance.xml").getroot()
    assert root is not None
    message = root.find("testsuite/testcase/failure")
    assert message is not None
    assert str(message.get("message")).startswith('"><script>alert(1)</script> | ')
    assert {element.tag for element in root.iter()} == {"testsuites", "testsuite", "testcase", "failure", "error"}


def test_hostile_text_cannot_leave_its_line_or_cell_in_markdown(hostile: Report) -> None:
    text = markdown_text(hostile.fields(), narrow())
    plain = markdown_text(report(failed("conv1"), result("", Outcome.ERRORED, check=Check.RUN)).fields(), narrow())
    assert text.count("\n") == plain.count("\n")
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# Conformance of alexnet_narrow: failed"]
    for special in ("<script", "| ]", "](http", " `code", "**bold", "~~"):
        assert special in HOSTILE
        assert re.search(rf"(?<!\\){re.escape(special)}", text) is None
    assert re.search("[\x00-\x09\x0b-\x1f]", text) is None


def test_hostile_text_reaches_the_terminal_as_text(hostile: Report, capsys: pytest.CaptureFixture[str]) -> None:
    show(hostile.fields(), narrow(), [Path("reports/conformance.json")])
    output = capsys.readouterr().out
    assert "[b]bold[/b]" in output
    assert "\x1b[31m" not in output


def test_the_terminal_and_markdown_name_the_first_divergence_and_the_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(MIXED.fields(), narrow(), [Path("conformance.json")])
    output = " ".join(capsys.readouterr().out.split())
    text = markdown_text(MIXED.fields(), narrow())
    assert "first divergence at conv2 (conv, local)" in output
    assert "`conv2` (conv, local): at \\[0\\] …" in text
    for shown in (output, text):
        assert "crash: signal 11" in shown
        assert "2 passed, 1 failed, 1 errored, 1 skipped, 1 xfailed" in shown


def test_markdown_has_one_row_a_tap_and_one_cell_a_variant() -> None:
    lines = markdown_text(MIXED.fields(), narrow()).splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith("| tap |"))
    rows = lines[header + 2 : header + 2 + len(narrow().layers)]
    assert [row.split(" | ")[0] for row in rows] == [f"| {layer.name}" for layer in narrow().layers]
    assert {row.count("|") for row in rows} == {6}
    assert rows[0] == "| conv1 | conv | ✅ 23.5 / – | ⏭ – / – |  |"


# --- Whole or not at all ---------------------------------------------------------------------------------------------


def test_a_report_is_three_files_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "reports"
    assert MIXED.write(folder) == [folder / name for name in NAMES]
    assert sorted(path.name for path in folder.iterdir()) == NAMES


def test_a_new_report_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    MIXED.write(tmp_path)
    report(result()).write(tmp_path)
    assert strict((tmp_path / "conformance.json").read_text(encoding="utf-8"))["verdict"] == "passed"
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


def broken(monkeypatch: pytest.MonkeyPatch, method: str, word: str) -> None:
    """Let a method of Path fail where the path's name contains a word."""
    real = getattr(Path, method)

    def fail(self: Path, *arguments: Any, **options: Any) -> Any:
        if word in self.name:
            raise OSError(28, "No space left on device")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, method, fail)


@pytest.mark.parametrize("method", ["write_text", "replace"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_there_one", [True, False])
def test_an_error_in_the_middle_leaves_the_folder_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, name: str, is_there_one: bool
) -> None:
    folder = tmp_path / "a" / "reports"
    if is_there_one:
        report(result()).write(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        broken(patched, method, name)
        with pytest.raises(NotRunError, match="expected to write the report, found: No space left on device"):
            MIXED.write(folder)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert (tmp_path / "a").exists() == is_there_one
    assert not list(tmp_path.rglob(".partial*"))


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").write_text("kept")
    with pytest.raises(NotRunError):
        MIXED.write(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [name, f"{name}/precious"]


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    path.write_text("mine")
    with pytest.raises(NotRunError):
        MIXED.write(path)
    assert path.read_text() == "mine"
