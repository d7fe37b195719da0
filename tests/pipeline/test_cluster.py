"""Step 4 on a Dask cluster of two worker processes: the local run's bytes, also when one is killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import run_step, write_tiny_log

from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.pipeline.workers import check_scheduler

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
TABLE = "toy_xgboost_validation.csv"
StartCluster = Callable[
    [], tuple[str, subprocess.Popen, list[subprocess.Popen], Callable[[], None]]
]  # address, scheduler, workers, what starts another


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("local")
    write_tiny_log(root)
    for step in (2, 3):
        run_step(step, root)
    run_step(4, root)
    return root


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """A scheduler and two workers, each with a folder of its own; nothing of ours is shared but the code."""
    processes: list[subprocess.Popen] = []

    def start(*command: str) -> subprocess.Popen:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command, "--no-dashboard"],
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return processes[-1]

    def cluster() -> tuple[str, subprocess.Popen, list[subprocess.Popen], Callable[[], None]]:
        from distributed import Client

        def start_worker() -> None:
            folder = tmp_path / f"worker{len(workers)}"
            folder.mkdir()
            flags = ("--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
            workers.append(start("worker", address, *flags))

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", str(port))
        workers: list[subprocess.Popen] = []
        for _ in range(2):
            start_worker()
        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        return address, scheduler, workers, start_worker

    yield cluster
    for process in processes:
        process.kill()
        process.wait()


def without_models(local: Path, root: Path) -> Path:
    """A root with what steps 2 and 3 wrote, by the same relative names."""
    import shutil

    shutil.copytree(local, root)
    shutil.rmtree(Paths(root).models("tiny"))
    return root


def started(root: Path, address: str) -> subprocess.Popen[str]:
    """Step 4 on the cluster at `address`."""
    return subprocess.Popen(
        [
            sys.executable,
            "llama_step4_offline_evaluation.py",
            "--root",
            str(root),
            "--llm",
            "tiny",
            "--dask",
            address,
        ],
        cwd=REPO_ROOT / "llama_exps",
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_model(run: subprocess.Popen[str], models: Path) -> None:
    while not list(models.glob("*.json")):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)


@pytest.mark.parametrize(
    "kill", [pytest.param(False, marks=pytest.mark.slow), True], ids=["both live", "one killed"]
)
def test_a_cluster_writes_the_bytes_of_the_local_run(
    kill: bool, local: Path, tmp_path: Path, start_cluster: StartCluster
) -> None:
    root = without_models(local, tmp_path / "root")
    address, _, workers, _ = start_cluster()
    run = started(root, address)
    models = Paths(root).models("tiny")
    if kill:
        wait_for_a_model(run, models)
        workers[0].kill()
        done = len(list(models.glob("*.json")))
        assert done < len(list(Paths(local).models("tiny").glob("*.json")))
    errors = run.communicate(timeout=240)[1]
    assert run.returncode == 0, errors
    assert (models / TABLE).read_bytes() == (Paths(local).models("tiny") / TABLE).read_bytes()
    for model in Paths(local).models("tiny").glob("*.safetensors"):
        assert (models / model.name).read_bytes() == model.read_bytes()


@pytest.mark.slow
def test_workers_that_come_later_take_over_from_all_of_the_first(
    local: Path, tmp_path: Path, start_cluster: StartCluster
) -> None:
    from distributed import Client

    root = without_models(local, tmp_path / "root")
    address, _, workers, start_worker = start_cluster()
    run = started(root, address)
    models = Paths(root).models("tiny")
    wait_for_a_model(run, models)
    with Client(address, timeout=60) as client:
        first = set(client.scheduler_info()["workers"])
        workers[0].kill()
        start_worker()
        while set(client.scheduler_info()["workers"]) <= first:
            time.sleep(0.02)
    workers[1].kill()
    assert len(list(models.glob("*.json"))) < len(list(Paths(local).models("tiny").glob("*.json")))
    errors = run.communicate(timeout=240)[1]
    assert run.returncode == 0, errors
    assert (models / TABLE).read_bytes() == (Paths(local).models("tiny") / TABLE).read_bytes()


@pytest.mark.slow
def test_no_scheduler_is_one_clear_line(local: Path, tmp_path: Path) -> None:
    root = without_models(local, tmp_path / "root")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = run_step(4, root, "--dask", f"tcp://127.0.0.1:{port}", check=False, own_process=True)
    assert result.returncode == 1
    assert "no scheduler answers there" in result.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "greeting", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n"], ids=["silent", "another protocol"]
)
def test_what_is_no_scheduler_is_one_clear_line(greeting: bytes, local: Path, tmp_path: Path) -> None:
    def answer() -> None:
        with suppress(OSError):  # closed below
            while True:
                connections.append(server.accept()[0])
                connections[-1].sendall(greeting)

    root, connections = without_models(local, tmp_path / "root"), []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        result = run_step(4, root, "--dask", address, check=False, own_process=True)
    assert connections and result.returncode == 1
    assert "no scheduler answers there" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8786", "foo", "tcp://host", ":abc", " ", "tcp://host:0", "tcp://host:99999"]
)
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(InputError, match="looks like tcp://HOST:PORT or tls://HOST:PORT"):
        check_scheduler(address)


TLS = [f"DASK_DISTRIBUTED__COMM__TLS__{name}" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")]


@pytest.mark.parametrize("given", [[], TLS[:1], TLS], ids=["none", "one", "no such files"])
def test_tls_without_certificates_names_the_variables(given: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in given:
            patch.setenv(name, "nowhere.pem")
        dask.config.refresh()  # Dask reads the environment when it is imported
        with pytest.raises(InputError) as error:
            check_scheduler("tls://127.0.0.1:8786")
    dask.config.refresh()
    line = str(error.value)
    assert line.startswith("--dask tls://") and "\n" not in line
    assert [name for name in TLS if name in line] == (TLS if len(given) == 3 else TLS[len(given) :])


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_a_lost_cluster_is_one_clear_line(
    lost: str, local: Path, tmp_path: Path, start_cluster: StartCluster
) -> None:
    root = without_models(local, tmp_path / "root")
    address, scheduler, workers, _ = start_cluster()
    run = started(root, address)
    models = Paths(root).models("tiny")
    wait_for_a_model(run, models)
    for process in workers if lost == "workers" else [scheduler]:
        process.kill()
    errors = run.communicate(timeout=120)[1]
    assert run.returncode == 1
    assert errors.count("\n") == 1
    assert "the cluster was lost" in errors and "run the same command again" in errors
