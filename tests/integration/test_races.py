"""Many runs that write to one store at the same moment lose nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

from segmentation import segment
from segmentation.data.demo import generate_customers
from segmentation.tracking.run_logger import _write_dataset
from segmentation.tracking.store import open_store

WRITERS = 6
ROUNDS = 8


def test_the_first_runs_of_a_data_set_at_once(store_uri: str) -> None:
    """MLflow's table holds a data set once; of inserts at one moment all but the first fail."""
    store = open_store(store_uri, "race")
    result = segment(generate_customers(30), choice="silhouette", k_max=2, effort="fast")
    together = Barrier(WRITERS)

    def write(run_id: str, digest: str) -> None:
        customers = replace(result.customers, digest=digest)
        together.wait()
        _write_dataset(store, run_id, replace(result, customers=customers))

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(ROUNDS):
            runs = [
                store.client.create_run(store.experiment_id).info.run_id for _ in range(WRITERS)
            ]
            list(pool.map(write, runs, [f"{number:036d}"] * WRITERS))
            logged = [store.client.get_run(run).inputs.dataset_inputs for run in runs]
            assert all(len(inputs) == 1 for inputs in logged)
