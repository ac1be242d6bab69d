"""Cells on Ray: what becomes of tasks, by a stand-in for Ray; a lost worker, by Ray itself where it is installed."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gate import cluster
from gate.__main__ import main
from gate.cluster import Node, joined, performed, resources, runtime_environment, tasks
from gate.matrix import Planned, listed
from gate.node import KEPT, LostError, Outcome, Task, perform
from gate.options import parsed_list
from gate.report import fields, write
from gate.results import NumericVerdict
from gate.verdict import Report
from spec.exits import Exit, InputError, NotRunError
from tests.gate.findings import numerics, run
from tests.gate.test_node import TASK

ROOT = Path(__file__).parents[2]
JAX = ("jax==0.9.2", "jax==0.10.2")
DONE = Outcome(0, "{}", "")
SMALL = Node(processors=4, gpus=0)
LARGE = Node(processors=16, gpus=0)
GPUS = Node(processors=8, gpus=2)

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is optional, and not installed")


class RayError(Exception):
    """What Ray raises for a task that failed; `cause` is the exception within it."""

    def __init__(self, text: str, cause: Exception | None = None) -> None:
        super().__init__(text)
        self.cause = cause


class StandIn:
    """As much of Ray as is used, in this process: each task is tried as often as its options say."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, become: Callable[[Task], Outcome], *nodes: Node) -> None:
        self.become = become
        self.own = nodes or (SMALL,)
        self.tried: list[str] = []
        self.options_of: dict[str, dict[str, Any]] = {}
        self.started: dict[str, Any] = {}
        self.is_over = False

    def init(self, **settings: Any) -> None:
        self.started = settings
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray too takes it

    def shutdown(self) -> None:
        self.is_over = True

    def nodes(self) -> list[dict[str, Any]]:
        dead = {"Alive": False, "Resources": {"CPU": 512.0}}
        return [dead, *({"Alive": True, "Resources": {"CPU": n.processors, "GPU": n.gpus}} for n in self.own)]

    def remote(self, function: Callable[[Task], Outcome]) -> Any:
        assert function is perform

        def options(**given: Any) -> Any:
            def submit(task: Task) -> Callable[[], Outcome]:
                self.options_of[task.name] = given
                return lambda: self._tried(task, given["max_retries"], tuple(given["retry_exceptions"]))

            return SimpleNamespace(remote=submit)

        return SimpleNamespace(options=options)

    def wait(self, pending: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return pending[-num_returns:], pending[:-num_returns]

    def get(self, done: Callable[[], Outcome]) -> Outcome:
        return done()

    def _tried(self, task: Task, retries: int, retried: tuple[type[Exception], ...]) -> Outcome:
        for left in range(retries, -1, -1):
            self.tried.append(task.name)
            try:
                return self.become(task)
            except retried as error:
                if left == 0:
                    raise RayError("a traceback of many lines", error) from error
        raise AssertionError("tried at least once")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StandIn]]:
    """Puts a stand-in in Ray's place; the signal handler and variables are put back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):
        monkeypatch.setenv(name, "")

    def install(become: Callable[[Task], Outcome], *nodes: Node) -> StandIn:
        ray = StandIn(become, *nodes)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray

    yield install
    signal.signal(signal.SIGTERM, before)


def test_local_ray_shares_all_that_is_kept() -> None:
    assert cluster._here().keys() == KEPT.keys()


def silent(text: str) -> None:
    pass


def planned(*arguments: str) -> list[Planned]:
    return [Planned(**cell) for cell in listed(list(arguments))["include"]]


def tasks_of(*arguments: str) -> list[Task]:
    return tasks(planned(*arguments), parsed_list(list(arguments)))


# What becomes of tasks


def test_outcomes_are_in_the_order_of_the_cells_whichever_ends_first(stand_in: Callable[..., StandIn]) -> None:
    own = [replace(TASK, name=name) for name in "abc"]
    ray = stand_in(lambda task: replace(DONE, said=task.name))
    assert [outcome.said for outcome in performed(own, None, silent, ())] == ["a", "b", "c"]
    assert ray.tried == ["c", "b", "a"]
    assert ray.is_over


def test_a_lost_cell_is_tried_again(stand_in: Callable[..., StandIn]) -> None:
    lost = [LostError("ended by SIGKILL"), LostError("ended by SIGKILL")]

    def become(task: Task) -> Outcome:
        if lost:
            raise lost.pop()
        return DONE

    ray = stand_in(become)
    assert performed([TASK], None, silent, ()) == [DONE]
    assert len(ray.tried) == 3


def test_a_cell_that_is_lost_each_time_errors_with_its_cause_and_the_others_stand(
    stand_in: Callable[..., StandIn],
) -> None:
    def become(task: Task) -> Outcome:
        if task.name == "bad":
            raise LostError("ended by SIGKILL")
        return DONE

    ray = stand_in(become)
    told: list[str] = []
    own = [replace(TASK, name="bad"), replace(TASK, name="good")]
    bad, good = performed(own, None, told.append, ())
    assert good == DONE
    assert bad == Outcome(Exit.NOT_RUN, None, "LostError: ended by SIGKILL")
    assert ray.tried.count("bad") == 1 + cluster.RETRIES
    assert "bad: errored: LostError: ended by SIGKILL; 2 of 2 cells" in told


def test_what_ray_says_of_an_environment_that_it_could_not_make_is_one_line(stand_in: Callable[..., StandIn]) -> None:
    def become(task: Task) -> Outcome:
        raise RayError("Failed to set up\nruntime environment.\n" + "x" * 5000)

    stand_in(become)
    (outcome,) = performed([TASK], None, silent, ())
    assert outcome.said.startswith("RayError: Failed to set up runtime environment. xxx")
    assert len(outcome.said) < 500


def test_a_stop_reaches_the_gate_although_ray_takes_the_signal(stand_in: Callable[..., StandIn]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stand_in(lambda task: DONE)
    performed([TASK], None, silent, ())
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_an_address_ray_is_one_of_our_own_on_this_machine(stand_in: Callable[..., StandIn]) -> None:
    ray = stand_in(lambda task: DONE)
    performed([TASK], None, silent, ("numpy==2.4.6",))
    assert ray.started["address"] == "local"
    assert not Path(ray.started["_temp_dir"]).exists()
    assert ray.started["runtime_env"]["uv"]["packages"] == ["numpy==2.4.6"]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_with_an_address_nothing_is_said_about_the_cluster_itself(stand_in: Callable[..., StandIn]) -> None:
    ray = stand_in(lambda task: DONE)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"ray://127.0.0.1:{head.getsockname()[1]}"
        performed([TASK], address, silent, ())
    assert ray.started["address"] == address
    assert not {"_temp_dir", "object_store_memory", "num_cpus"} & ray.started.keys()


def test_a_cluster_that_is_not_there_is_one_line(stand_in: Callable[..., StandIn]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
    ray = stand_in(lambda task: DONE)
    with pytest.raises(NotRunError, match=f"--ray {address}: expected a Ray cluster, found: .*refused$"):
        performed([TASK], address, silent, ())
    assert ray.started == {}


def test_a_cluster_that_lets_nobody_in_is_one_line_that_names_the_token(
    stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**settings: Any) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")

    monkeypatch.setattr(stand_in(lambda task: DONE), "init", init)
    with pytest.raises(
        NotRunError, match=r"found: Failed to connect .*; where .* set RAY_AUTH_MODE=token, and RAY_AUTH"
    ):
        performed([TASK], "auto", silent, ())


def test_what_ray_says_of_a_cluster_that_it_does_not_fit_is_one_line(
    stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**settings: Any) -> None:
        raise RuntimeError("Version mismatch:\n  Ray 2.60 and 2.61")

    monkeypatch.setattr(stand_in(lambda task: DONE), "init", init)
    with pytest.raises(NotRunError, match="found: Version mismatch: Ray 2.60 and 2.61".replace(".", "[.]")):
        performed([TASK], "auto", silent, ())


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotRunError, match=r"install it: python -m pip install -r requirements/ray\.txt"):
        main([*JAX, "--ray"])


# What a task needs


def test_a_cell_that_measures_time_has_a_node_for_itself() -> None:
    alone = replace(TASK, alone=True, threads=1)
    assert resources(alone, [SMALL, LARGE, GPUS])["num_cpus"] == 16
    assert resources(replace(alone, device="cuda"), [SMALL, LARGE, GPUS]) == {"num_cpus": 8, "num_gpus": 1}


def test_numerics_need_as_many_processors_as_they_start_threads() -> None:
    assert resources(TASK, [SMALL, LARGE]) == {"num_cpus": 16, "num_gpus": 0}
    assert resources(replace(TASK, threads=2), [SMALL, LARGE]) == {"num_cpus": 2, "num_gpus": 0}


def test_what_no_node_has_is_refused_and_not_waited_for() -> None:
    with pytest.raises(NotRunError, match="a cell: expected a node with a GPU in the Ray cluster, found none among 2"):
        resources(replace(TASK, device="cuda"), [SMALL, LARGE])
    with pytest.raises(NotRunError, match="a cell: expected a node with 32 processors, found at most 16"):
        resources(replace(TASK, threads=32), [SMALL, LARGE])


def test_nodes_without_processors_and_dead_ones_are_none(stand_in: Callable[..., StandIn]) -> None:
    stand_in(lambda task: DONE, Node(0, 0))
    with pytest.raises(NotRunError, match="expected a node with processors, found none among 1"):
        performed([TASK], "auto", silent, ())


# From cells to tasks


def test_a_task_is_what_the_listed_cell_says() -> None:
    first, second = tasks_of(*JAX, "--numerics-only", "--device", "cpu,cuda", "--threads", "2")
    cells = planned(*JAX, "--numerics-only", "--device", "cpu,cuda", "--threads", "2")
    assert [first.name, second.name] == [cell.name for cell in cells]
    assert first.arguments == (
        *JAX, "--numerics-only", "--threads", "2", "--spec", "alexnet", "--device", "cpu", "--part"
    )  # fmt: skip
    assert (first.device, second.device) == ("cpu", "cuda")
    assert (first.alone, first.threads, first.files) == (False, 2, {})


def test_all_but_numerics_alone_measure_time() -> None:
    assert [tasks_of(*JAX, *more)[0].alone for more in ((), ("--speed-only",), ("--numerics-only",))] == [
        True,
        True,
        False,
    ]


def test_files_that_the_arguments_name_go_with_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pins").mkdir()
    Path("pins/before.txt").write_text("jax==0.9.2\n-r more.txt\n", encoding="utf-8")
    Path("pins/after.txt").write_text("jax==0.10.2\n-c=more.txt\n", encoding="utf-8")
    Path("pins/more.txt").write_text("numpy==2.4.6\n-r before.txt\n", encoding="utf-8")
    spec = (ROOT / "spec" / "networks" / "alexnet_narrow.yaml").read_bytes()
    Path("own.yaml").write_bytes(spec)
    Path("own.toml").touch()
    (task,) = tasks_of("pins/before.txt", "pins/after.txt", "--spec", "own.yaml", "--accepted", "own.toml")
    assert set(task.files) == {"pins/before.txt", "pins/after.txt", "pins/more.txt", "own.yaml", "own.toml"}
    assert task.files["own.yaml"] == spec


def test_a_file_that_no_node_could_find_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.yaml").write_bytes((ROOT / "spec" / "networks" / "alexnet_narrow.yaml").read_bytes())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for spec in ("../own.yaml", str(tmp_path / "own.yaml")):
        with pytest.raises(InputError, match="expected files below the current folder, which nodes are sent, found"):
            tasks_of(*JAX, "--spec", spec)


def test_a_baseline_report_that_is_not_there_is_one_line() -> None:
    options = Namespace(**{**vars(parsed_list(list(JAX))), "baseline_report": Path("none.json"), "sides": []})
    with pytest.raises(InputError, match=r"none\.json: expected a file that can be read"):
        tasks([], options)


@pytest.mark.parametrize("address", ["jax==0.9.2", "head", "http://head:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"--ray: expected HOST:PORT, .* write --ray last"):
        cluster.gate([f"--ray={address}", *JAX], silent)


def test_options_that_belong_to_no_cell_are_refused() -> None:
    with pytest.raises(InputError, match="--calibrate"):
        cluster.gate([*JAX, "--calibrate", "--ray"], silent)


def test_nodes_are_sent_the_program_and_nothing_that_is_made_from_it() -> None:
    sent = runtime_environment(())
    assert "uv" not in sent
    assert {"/docs", "/tests"} <= set(sent["excludes"])
    left = {path.name for path in ROOT.iterdir()} - {name.removeprefix("/") for name in sent["excludes"]}
    assert left == set(cluster.SENT)


# From outcomes to a verdict


def outcome_of(folder: Path, verdict: NumericVerdict = NumericVerdict.IDENTICAL, network: str = "alexnet") -> Outcome:
    report = Report((run(numerics(verdict, network=network)),))
    return Outcome(int(report.exit), write(report, folder / network)[0].read_text(encoding="utf-8"), "")


def test_the_reports_of_cells_are_merged_into_one_that_says_the_same(tmp_path: Path) -> None:
    cells = listed([*JAX, "--spec", "alexnet", "--spec", "caffenet"])
    outcomes = [outcome_of(tmp_path, network=network) for network in ("alexnet", "caffenet")]
    whole = joined(cells, outcomes, tmp_path / "reports")
    assert (whole.exit, whole.missing) == (Exit.PASSED, ())
    own = [json.loads(outcome.report or "")["runs"] for outcome in outcomes]
    assert json.loads(json.dumps(fields(whole)))["runs"] == own[0] + own[1]
    kept = sorted(path.parent.name for path in (tmp_path / "reports").rglob("gate.json"))
    assert kept == ["1-jax-cpu-alexnet", "1-jax-cpu-caffenet"]


def test_a_cell_without_a_report_is_errored_by_name_and_the_others_stand(tmp_path: Path) -> None:
    cells = listed([*JAX, "--spec", "alexnet", "--spec", "caffenet"])
    lost = Outcome(Exit.NOT_RUN, None, "LostError: ended by SIGKILL")
    whole = joined(cells, [outcome_of(tmp_path), lost], tmp_path)
    assert whole.missing == ("jax==0.9.2 → jax==0.10.2, cpu, caffenet: errored: LostError: ended by SIGKILL",)
    assert whole.exit is Exit.NOT_RUN
    drifted = joined(cells, [outcome_of(tmp_path, NumericVerdict.DRIFTED), lost], tmp_path)
    assert drifted.exit is Exit.DIVERGED


def test_one_cell_that_is_not_run_ends_as_it_would_without_ray(tmp_path: Path) -> None:
    cells = listed([*JAX])
    with pytest.raises(InputError, match=r"^candidate: no such version$"):
        joined(cells, [Outcome(Exit.INPUT, None, "candidate: no such version")], tmp_path)
    with pytest.raises(NotRunError, match="alexnet: no uv"):
        joined(cells, [Outcome(Exit.NOT_RUN, None, "no uv")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_report_of_several_cells_is_a_report_that_names_them(tmp_path: Path) -> None:
    cells = listed([*JAX, "--spec", "alexnet", "--spec", "caffenet"])
    whole = joined(cells, [Outcome(Exit.NOT_RUN, None, "no uv")] * 2, tmp_path)
    assert (len(whole.missing), whole.exit) == (2, Exit.NOT_RUN)
    assert "no uv" in write(whole, tmp_path)[1].read_text(encoding="utf-8")


# Ray itself


REAL = """
import sys
from gate.cluster import performed
from dataclasses import replace
from tests.gate.test_node import TASK, program
marker = sys.argv[1]
lost = program(f'''
    marker = pathlib.Path({marker!r})
    if not marker.exists():
        marker.touch()
        os.kill(os.getppid(), 9)
        time.sleep(60)
    report.write_text("again")
''')
sleeps = "start = time.time(); time.sleep(1); report.write_text(f'{start} {time.time()}')"
own = [replace(lost, name="lost"), replace(program("os.kill(os.getpid(), 9)"), name="bad")]
own += [replace(program(sleeps), name=str(n), alone=True) for n in range(2)]
for outcome in performed(own, None, lambda text: None, ()):
    print(outcome.report, outcome.said, sep="; ")
"""


@needs_ray
def test_ray_tries_again_what_it_lost_names_what_fails_for_good_and_times_cells_one_by_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(tmp_path / "marker")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    lost, bad, *timed = done.stdout.splitlines()
    assert lost == "again; "
    assert bad == "None; LostError: ended by SIGKILL"
    first, second = sorted([float(word) for word in line.partition(";")[0].split()] for line in timed)
    assert first[1] <= second[0]
