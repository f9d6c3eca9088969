"""The only room that patches RecBole 1.2.1: what each patch mends, and `apply()`, which makes them once.

Line numbers in the patches are those of the published wheel. No patch edits RecBole's files or hooks imports;
each replaces a function, or a name, of a RecBole module in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from recbole_ext.bridge.patches import (
    arrays,
    checkpoints,
    data,
    drawing,
    logs,
    metrics,
    models,
    session_graphs,
    start,
    stopping,
)


@dataclass(frozen=True)
class Patch:
    """One mend: `apply()` makes it; `issue` is RecBole's issue number where there is one, else empty."""

    name: str
    mends: str
    issue: str
    apply: Callable[[], None]


PATCHES: list[Patch] = [
    Patch(
        "sklearn_later",  # first, as Config imports the metrics
        "Two metrics and two models import scikit-learn for all runs, 0.7 of install()'s 1.1 s (metrics.py:29, "
        "slimelastic.py:16, nceplrec.py:19).",
        "",
        start.patch_sklearn,
    ),
    Patch(
        "numpy_aliases",
        "Config reads np.float_, np.complex_ and np.unicode_, which numpy 2 lacks (configurator.py:628-635).",
        "#2203",
        arrays.patch_numpy_aliases,
    ),
    Patch(
        "ray_optional",
        "recbole.quick_start imports ray, which is absent or broken on new stacks (run/run.py:20).",
        "#2215",
        start.patch_ray,
    ),
    Patch(
        "exact_scores",  # before checkpoints, which remember an epoch's score
        "Epochs are compared by scores rounded to metric_decimal_place, so that a worse one may be the best "
        "(metrics.py, trainer.py:286).",
        "",
        stopping.patch_exact_scores,
    ),
    Patch(
        "early_stopping",
        "An equal validation score counts as a better one: a plateau never stops, and its last epoch is kept "
        "(utils.py:137).",
        "",
        stopping.patch_early_stopping,
    ),
    Patch(
        "checkpoints",
        "Checkpoints hold a pickled Config, which torch.load refuses since 2.6, and resuming loses random "
        "state (trainer.py:289-344, 583; run/run.py:250).",
        "#2212",
        checkpoints.patch_checkpoints,
    ),
    Patch(
        "data_caches",
        "A pickle at the expected name in checkpoint_dir is loaded unasked (data/utils.py:61, 122).",
        "",
        checkpoints.patch_data_caches,
    ),
    Patch(
        "saved_loaders",
        "save_dataloaders takes the generators out of the loaders, so that the run trains in another order than one "
        "without it, and than those that load them (data/utils.py:94).",
        "",
        checkpoints.patch_saved_loaders,
    ),
    Patch(
        "pandas_three",
        "Series.agg(len) is no longer elementwise and fillna(inplace=True) on a column does nothing "
        "(dataset.py:648, 650, 712, 792, 809, 1217; sequential_dataset.py:163).",
        "#2215",
        arrays.patch_pandas_three,
    ),
    Patch(
        "atomic_files",
        "Atomic files are read as quoted csv, items called NA or null are dropped, a byte-order mark hides the first "
        "column, and seq_len keeps the oldest events of a history (dataset.py:421-520).",
        "#2017",
        data.patch_atomic_files,
    ),
    Patch(
        "event_order",
        "Missing times become the mean, a time column of tokens is sorted by first appearance, rm_dup_inter sorts "
        "unstably, and times tie as float32 (dataset.py:638-651, 817-872, 1220).",
        "#2204",
        data.patch_event_order,
    ),
    Patch(
        "numbers",
        "Infinite features make the loss nan; means, ranges and buckets are taken over test-only items and events too "
        "(dataset.py:638-790).",
        "",
        data.patch_numbers,
    ),
    Patch(
        "scipy_dok",
        "LightGCN and six other graph models call dok_matrix._update, which scipy dropped (lightgcn.py:111).",
        "",
        arrays.patch_scipy_dok,
    ),
    Patch(
        "collector_ints",
        "Popularity and coverage metrics crash: .cpu() is called on ints and Counters (collector.py:226).",
        "#2194",
        arrays.patch_collector,
    ),
    Patch(
        "list_metrics",
        "ItemCoverage and GiniIndex count the padding as an item, and lists shorter than k count as full "
        "(metrics.py:427-745).",
        "#1440",
        metrics.patch_list_metrics,
    ),
    Patch(
        "metric_rows",
        "MRR, MAP and NDCG go through the rows one by one in Python, .3 s for 60,000 (metrics.py:88, 128, 186).",
        "",
        metrics.patch_metric_rows,
    ),
    Patch(
        "candidate_counts",
        "GAUC takes the place of the first -inf for the number of candidates, and is below 0 where a model ranks items "
        "nowhere (collector.py:186, trainer.py:521-562).",
        "",
        metrics.patch_candidate_counts,
    ),
    Patch(
        "empty_sets",
        "RepeatableSampler makes an empty set for every user, twice a run: 0.5 s for 200,000 (sampler.py:408).",
        "",
        arrays.patch_empty_sets,
    ),
    Patch(
        "anomaly_detection",
        "Importing any sequential model switches torch's anomaly detection on for all of them (sine.py:25).",
        "",
        start.patch_anomaly_detection,
    ),
    Patch(
        "session_graphs",
        "SRGNN and GCSAN make a batch's graphs event by event in Python on the CPU, a third and a seventh of an "
        "epoch there (srgnn.py:163-199, gcsan.py:169-201).",
        "",
        session_graphs.patch_session_graphs,
    ),
    Patch(
        "samplers",  # after anomaly_detection, as it imports models
        "Popularity counts all parts, and training draws items that only the test part has (sampler.py:139-200, "
        "246, 406; transform.py:67; s3rec.py:266).",
        "",
        data.patch_samplers,
    ),
    Patch(
        "row_numbers",
        "A loader makes a list of the numbers of its rows: 2.6 GB for 65 million (abstract_dataloader.py:61, 66).",
        "",
        data.patch_row_numbers,
    ),
    Patch(
        "own_names",
        "Checkpoints are named by the second, so that runs of one model that start together write to one file "
        "(trainer.py:132, 793).",
        "",
        logs.patch_names,
    ),
    Patch(
        "own_logs",
        "All runs of a process write to the first one's log file, TensorBoard folder and Weights & Biases run "
        "(logger.py:118, utils.py:223, wandblogger.py:37).",
        "",
        logs.patch_logs,
    ),
    Patch(
        "drawing_ends",
        "Negatives are drawn again and again where a session has all the items there are (sampler.py:166-190, 485; "
        "transform.py:69).",
        "#2193",
        drawing.patch_drawing,
    ),
    Patch(
        "nothing_masked",
        "BERT4Rec and DIEN divide by what a batch has to predict, also where that is nothing, and BERT4Rec masks none "
        "of fewer than five items (bert4rec.py:196-220, transform.py:52, dien.py:229).",
        "#882",
        models.patch_nothing_masked,
    ),
    Patch(
        "fearec_rows",
        "FEARec reads prefixes out of RecBole's own table of rows, and looks through all rows for each "
        "(fearec.py:84, 217).",
        "",
        models.patch_fearec,
    ),
    Patch(
        "line_negatives",
        "LINE draws users for an item itself, those of the test part too, and without end where all have met it "
        "(line.py:74-113).",
        "#2193",
        models.patch_line,
    ),
    Patch(
        "folders_at_once",
        "A folder is looked for and then made, which fails where another process makes it in between (utils.py:44).",
        "",
        start.patch_folders,
    ),
    Patch(
        "device_choice",
        "use_gpu: False is ignored, CUDA_VISIBLE_DEVICES is always overwritten, and a list of ids is written into it "
        "as a list (configurator.py:476-515).",
        "",
        start.patch_device,
    ),
    Patch(
        "command_line",
        "Config parses sys.argv even under pytest and eval()s the values (configurator.py:124-193).",
        "",
        start.patch_command_line,
    ),
    Patch(
        "config_files",
        "Config looks for yaml inside recbole only and reads every file anew with one resolver more, drops half-given "
        "eval_args, wants train_neg_sample_args: "
        "~ for CE, answers an unknown model with \"No module named 'lightgbm'\" (configurator.py:106-325).",
        "",
        start.patch_config_files,
    ),
]

_applied: set[str] = set()


def apply(skip: Collection[str] = ()) -> None:
    """Make every patch not named in `skip`, each once per process; a second call changes nothing.

    Raises ValueError when `skip` names no patch.
    """
    unknown = sorted(set(skip) - {patch.name for patch in PATCHES})
    if unknown:
        raise ValueError(f"no patch is called {unknown[0]}; there are {', '.join(p.name for p in PATCHES)}")
    for patch in PATCHES:
        if patch.name in skip or patch.name in _applied:
            continue
        patch.apply()
        _applied.add(patch.name)
