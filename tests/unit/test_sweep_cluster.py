"""The same sweep here, in processes, and on a cluster whose workers may die."""

import os
import signal
import time

import joblib
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from joblib.externals.loky.process_executor import TerminatedWorkerError

from weightdecay import sweep

LAMBDAS = [i / 10 for i in range(12)]


def shrink_slowly(lambd, notes, deadly=None):
    """Shrinks from 1, and leaves a file for every run; the first run at `deadly` kills its own process."""
    first = not list(notes.glob(f"{lambd:g} *"))
    (notes / f"{lambd:g} {time.monotonic_ns()}").touch()
    time.sleep(0.05)
    if lambd == deadly and first:
        os.kill(os.getpid(), signal.SIGKILL)
    for step in range(1, 6):
        yield step, {"w": (1 - 0.1 * lambd) ** step}


@pytest.fixture
def cluster():
    """A Dask cluster of two workers on this machine, through which joblib sends its work."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield cluster


@pytest.fixture
def here(tmp_path):
    return sweep(shrink_slowly, lambd=LAMBDAS, notes=tmp_path, n_jobs=1)


def test_processes_give_the_same_dataset(here, tmp_path):
    xr.testing.assert_equal(sweep(shrink_slowly, lambd=LAMBDAS, notes=tmp_path, n_jobs=2), here)


def test_a_cluster_gives_the_same_dataset_and_survives_a_dead_worker(here, tmp_path, cluster):
    xr.testing.assert_equal(sweep(shrink_slowly, lambd=LAMBDAS, notes=tmp_path), here)
    notes = tmp_path / "deadly"
    notes.mkdir()
    xr.testing.assert_equal(sweep(shrink_slowly, lambd=LAMBDAS, notes=notes, deadly=0.7), here)
    assert len(list(notes.glob("0.7 *"))) == 2


def test_what_a_killed_process_leaves_in_the_store_is_not_done_again(here, tmp_path):
    notes = tmp_path / "deadly"
    notes.mkdir()
    grid = {"lambd": LAMBDAS, "notes": notes, "deadly": 0.7, "store": tmp_path / "store"}
    with pytest.raises(TerminatedWorkerError):
        sweep(shrink_slowly, **grid, n_jobs=2)
    assert len(list(notes.iterdir())) > 2
    xr.testing.assert_equal(sweep(shrink_slowly, **grid, n_jobs=2), here)
    assert len(list(notes.iterdir())) <= len(LAMBDAS) + 2  # the deadly run, and what the other process was at
