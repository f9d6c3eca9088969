"""An experiment on a cluster of two machines, of which one is lost in the middle; what is said where Ray is not."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.experiment import ledger
from recbole_ext.experiment.over_machines import Needs, There, connected, needs_of

ROOT = Path(__file__).resolve().parents[2]
# stands still after an epoch that leaves a checkpoint, until it is let go
SOURCE = """
import os
import time
from pathlib import Path
from recbole.model.sequential_recommender import GRU4Rec


class Patient(GRU4Rec):
    defaults = {"embedding_size": 8, "hidden_size": 8, "num_layers": 1, "dropout_prob": 0.3, "loss_type": "CE"}

    def forward(self, *batch):
        if self.training and any(Path("runs").glob("*/*/*/*/*/best.pth")):
            self.name = getattr(self, "name", os.urandom(4).hex())
            Path(f"stands-{self.name}").touch()
            while not Path("go").exists():
                time.sleep(0.02)
        return super().forward(*batch)
"""
WORDS = (
    *(
        "--dataset=toy",
        "--data_path=data",
        "--use_gpu=False",
        "--epochs=4",
        "--train_batch_size=64",
        "--threads=1",
    ),
    *("--valid_metric=NDCG@10", "--eval_args={split: {session_time: [6, 2, 2]}}"),
)


@pytest.fixture
def cluster(monkeypatch):
    """One of two machines that run tasks, and how to end the second at once."""
    pytest.importorskip(
        "ray", reason="Ray is not installed: pip install 'ray>=2.60', and this kills a machine of a cluster"
    )
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    memory = {"object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    try:
        _, second = (made.add_node(num_cpus=1, **memory) for _ in range(2))
        made.wait_for_nodes()
        yield made.address, lambda: made.remove_node(second, allow_graceful=False)
    finally:
        made.shutdown()


@pytest.mark.slow
def test_a_machine_lost_in_the_middle_loses_nothing(here, cluster, capfd):
    address, lose = cluster
    Path("patient.py").write_text(SOURCE)
    model = "--model=patient.py:Patient,Pop"
    met = []

    def lose_one():
        end = time.monotonic() + 300
        while len(standing := list(here.glob("stands-*"))) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        met.append((len(standing), len(list(here.glob("runs/**/record.json")))))
        lose()
        Path("go").touch()

    losing = threading.Thread(target=lose_one)
    losing.start()
    try:
        code = main(["run", model, *WORDS, "--seed=1,2", "--name=far", f"--ray={address}"])
    finally:
        Path("go").touch()
        losing.join()
    said = capfd.readouterr().out
    assert code == 0 and "[4/4]" in said
    assert "Ray: 3 machines with 2 CPUs and 0 GPUs, room for 2 cells of 1 CPUs and 0 GPUs" in said
    assert met == [(2, 0)], "two cells were under way when the machine was lost"
    assert len(list(here.glob("stands-*"))) == 3, "the one that was lost was done by a third model"
    assert main(["run", model, *WORDS, "--seed=1,2", "--name=near"]) == 0
    capfd.readouterr()
    cells = sorted(
        path.parent.relative_to("runs/experiments/near")
        for path in Path("runs").glob("**/near/**/record.json")
    )
    assert len(cells) == 4
    for cell in cells:
        far, near = (np.load(Path("runs/experiments", name, cell, "ranks.npz")) for name in ("far", "near"))
        assert all((far[column] == near[column]).all() for column in far.files), cell
    rows = [
        ledger.readings(Path(f"runs/experiments/{name}/report/test_readings.csv")) for name in ("far", "near")
    ]
    known = [
        sorted((row["label"], row["seed"], tuple(row["metrics"].items())) for row in part) for part in rows
    ]
    assert known[0] == known[1] and len(known[0]) == 4
    assert not list(here.glob("runs/**/*.tmp"))
    # and again: nothing is left to do
    assert main(["run", model, *WORDS, "--seed=1,2", "--name=far"]) == 0
    assert capfd.readouterr().out.count("finished before") == 4


def test_without_ray_one_sentence_says_how_to_get_it(here, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", "--model=Pop", *WORDS, "--ray=auto"]) == 2
    assert (
        capsys.readouterr().err == "error: --ray needs Ray, which is not installed: pip install 'ray>=2.60'\n"
    )
    assert not Path("runs").exists()


def test_ray_says_which_gpu_a_cell_has(here, capsys):
    assert main(["run", "--model=Pop", *WORDS, "--ray=auto", "--gpu_id=0,1"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: gpu_id is 0,1, and Ray says which GPU each cell has: leave"
    )


def test_a_ray_that_cannot_be_imported_is_told(tmp_path, monkeypatch):
    """As the one that RecBole's metadata wants, under numpy 2."""
    import sys

    (tmp_path / "ray.py").write_text("import numpy\nnumpy.bool8\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(UsageError, match=r"a Ray that can be imported \(.*bool8.*: pip install 'ray>=2.60'"):
        connected("auto").__enter__()


class Machines:
    """What of Ray says which machines there are."""

    def __init__(self, *resources):
        self.nodes = lambda: (
            [{"Alive": True, "Resources": one} for one in resources]
            + [{"Alive": False, "Resources": {"CPU": 99.0, "GPU": 9.0}}]
        )


@pytest.mark.parametrize(
    ("gpus", "threads", "use_gpu", "found"),
    [
        (None, 1, True, (1.0, 3)),  # a GPU a cell
        (0.5, 1, True, (0.5, 6)),
        (0.1, 4, True, (0.1, 2)),  # of 11 CPUs
        (None, 2, False, (0.0, 5)),  # all machines, those without a GPU too
    ],
)
def test_what_a_cell_takes_and_how_many_there_is_room_for(gpus, threads, use_gpu, found):
    machines = Machines({"CPU": 8.0, "GPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}, {"CPU": 1.0})
    needs, room = needs_of(machines, gpus, threads, use_gpu)
    assert (needs, room) == (Needs(threads, found[0]), found[1])


def test_what_no_machine_has_is_refused():
    """Ray would wait for one."""
    with pytest.raises(
        UsageError, match="no machine of the Ray cluster has 4 CPUs and 1 GPUs, which a cell takes"
    ):
        needs_of(Machines({"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}), None, 4, True)


def test_a_machine_without_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match="does not see what is in /shared: let all machines of the Ray cluster share"
    ):
        There("/shared", str(tmp_path / "absent"), "").enter()
    assert os.getcwd() == str(tmp_path)
