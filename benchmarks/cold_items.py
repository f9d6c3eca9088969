"""Items that training never saw: HR@20 and MRR@20 of our models beside others', by the protocol of CatPro-CL.

    python benchmarks/cold_items.py run FOLDER --datasets diginetica-demo,diginetica --folds 1,2,3
    python benchmarks/cold_items.py table FOLDER --datasets diginetica-demo,diginetica --out results/cold_items.md

`run` leaves a file a (data set, variant, fold) in FOLDER, and goes on where it was stopped. Fold f holds out another
fifth of the training items of seed 1, and is the models' seed too. Settings were chosen on the validation targets of
fold 0 (`table --folds 0 --part valid`); what is reported are the test targets of other folds. The atomic files of the
data sets, or the raw logs that their yaml names, have to be there (`--raw-path` names another folder of them).

A cold target is one whose item has no training event. Many items tie where features are few, so a target's figures are
what is expected when ties, scores within a millionth of the target's, are put in random order.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import write_section

from recbole_ext.evaluate.intervals import bootstrap_means, paired_test, paired_tests

K = 20
# values of (cold_bias, repeat_bias) that are tried on validation, without training anew
BIASES = [(bias, 0.0) for bias in (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0)]
BIASES += [(bias, repeat) for bias in (-0.5, 0.0) for repeat in (1.0, 2.0, 4.0, 6.0)]
HOLDOUT, ITEM_SEED = 0.2, 1
TRAINED = {
    "train_batch_size": 512,
    "epochs": 12,
    "stopping_step": 2,
    "eval_batch_size": 512,
    "precision": "bf16",
}
# RecBole's models learn slowly at first, so they get more time, and its GRU networks a higher rate: at .001 they stay
# at the popular items for longer than that
PEER = {**TRAINED, "epochs": 20, "stopping_step": 5}
GRU = {**PEER, "learning_rate": 0.005}
POSITIONS = {"train_targets": "all_positions"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "HRNNFeat": ("HRNNFeat", TRAINED),
    "HRNNFeat pointer alone": ("HRNNFeat", {**TRAINED, "readout": False}),
    "HRNNFeat read-out alone": ("HRNNFeat", {**TRAINED, "pointer": "none"}),
    "HRNNFeat neither": ("HRNNFeat", {**TRAINED, "readout": False, "pointer": "none"}),
    "HRNNFeat repeat_bias 0": ("HRNNFeat", {**TRAINED, "repeat_bias": 0.0, "pointer": "none"}),
    "SASRecFeat": ("SASRecFeat", TRAINED),
    "GRU4RecFeat": ("GRU4RecFeat", TRAINED),
    "GRU4RecF": ("GRU4RecF", GRU),
    "SASRecF": ("SASRecF", PEER),
    "GRU4Rec": ("GRU4Rec", {**GRU, **POSITIONS}),
    "SASRec": ("SASRec", {**PEER, **POSITIONS}),
    "CategoryPop": ("CategoryPop", {}),
    "CategoryPop cold first": ("CategoryPop", {"cold_count": 100.0}),
    "Pop": ("Pop", {}),
    "Random": ("Random", {}),
}
OURS = ("HRNNFeat", "SASRecFeat", "GRU4RecFeat")
# the same model with less: what its parts bring, and what those that serve unseen items do
PAIRS = [
    ("HRNNFeat pointer alone", "HRNNFeat neither"),
    ("HRNNFeat", "HRNNFeat read-out alone"),
    ("HRNNFeat", "HRNNFeat neither"),
    ("HRNNFeat", "HRNNFeat pointer alone"),
    ("HRNNFeat", "HRNNFeat repeat_bias 0"),
    ("SASRecFeat", "SASRec"),
    ("GRU4RecFeat", "GRU4Rec"),
]
MEAN_DRAWS, TEST_DRAWS = 2000, 20_000  # of sessions, and of the signs of their differences


def expected_gains(higher: np.ndarray, tied: np.ndarray, k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """(T,) chance to be among the k best and expected reciprocal rank there, for targets below `higher` items that
    share their place with `tied` others in random order."""
    seats = np.clip(k - higher, 0, tied + 1)
    harmonic = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, k + 1))))
    first = np.minimum(higher, k)
    return seats / (tied + 1), (harmonic[first + seats] - harmonic[first]) / (tied + 1)


def expected_ndcg(higher: np.ndarray, tied: np.ndarray, k: int = 10) -> np.ndarray:
    """(T,) expected NDCG@k of the same targets, each the only one of its row."""
    seats = np.clip(k - higher, 0, tied + 1)
    gain = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))))
    first = np.minimum(higher, k)
    return (gain[first + seats] - gain[first]) / (tied + 1)


def counted(scores: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) how many of scores (B, n_items) are above the target's own (B,), and how many others tie with it."""
    rows = max(
        1, (96 << 20 if scores.is_cuda else 1 << 20) // scores.shape[1]
    )  # on a CPU, what stays in cache
    above, near = [], []
    for some, target in zip(scores.split(rows), own.unsqueeze(1).split(rows), strict=True):
        margin = target.abs().clamp_min(1) * 1e-6
        # summed as float32, exact up to 16 million items and many times faster than booleans on a CPU
        above.append((some > target + margin).float().sum(1))
        near.append(((some - target).abs_() <= margin).float().sum(1))
    return torch.cat(above).long(), (torch.cat(near).long() - 1).clamp_min(0)


def tie_collector(config: Any) -> Any:
    """RankCollector that also keeps how many items are above each target, and how many tie with it."""
    from recbole_ext.trainer.collector import RankCollector

    class TieCollector(RankCollector):
        def __init__(self) -> None:
            super().__init__(config)
            self.found: list[dict[str, np.ndarray]] = []

        def eval_batch_collect(
            self, scores_tensor: Any, interaction: Any, positive_u: Any, positive_i: Any
        ) -> None:
            dense = scores_tensor if isinstance(scores_tensor, torch.Tensor) else scores_tensor.dense()
            target = positive_i.to(dense.device)
            own = dense.gather(1, target.unsqueeze(1)).squeeze(1)
            higher, tied = counted(dense, own)
            nowhere = own == -torch.inf  # no candidate: last
            higher = torch.where(nowhere, dense.shape[1], higher)
            kept = {"higher": higher, "tied": tied.masked_fill(nowhere, 0), "item": target}
            for field in ("event_index", config["USER_ID_FIELD"]):
                kept[field] = interaction[field]
            self.found.append({name: value.cpu().numpy() for name, value in kept.items()})
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)

        def targets_in_order(self) -> dict[str, np.ndarray]:
            columns = {name: np.concatenate([part[name] for part in self.found]) for name in self.found[0]}
            order = np.argsort(columns["event_index"], kind="stable")
            self.found = []
            return {name: column[order] for name, column in columns.items()}

    return TieCollector()


def measure(
    dataset: str, model: str, keys: dict[str, Any], fold: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train one model; what is known of the run, and the columns of its validation and test targets."""
    import recbole.data
    from recbole.config import Config
    from recbole.utils import get_model, get_trainer, init_logger, init_seed

    from recbole_ext.bridge.keys import refuse_unread
    from recbole_ext.bridge.prepare import prepare_atomic_files
    from recbole_ext.files import commit
    from recbole_ext.model.item_encoder import ColdScoring
    from recbole_ext.run.record import _device_name
    from recbole_ext.settings.command_line import command_line

    given = {
        "seed": fold + 1,
        "show_progress": False,
        "state": "ERROR",
        "metrics": ["Hit", "NDCG", "MRR"],
        **keys,
    }
    given["cold_items"] = {"holdout": HOLDOUT, "seed": ITEM_SEED, "fold": fold}
    with tempfile.TemporaryDirectory() as place, command_line([]):
        config = Config(model, dataset, config_dict={**given, "checkpoint_dir": place})
        refuse_unread(config)
        prepare_atomic_files(config)
        init_seed(config["seed"], config["reproducibility"])
        init_logger(config)
        data = recbole.data.create_dataset(config)
        train, valid, test = recbole.data.data_preparation(config, data)
        init_seed(config["seed"], config["reproducibility"])
        network = get_model(config["model"])(config, train._dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
        began = time.perf_counter()
        score, _ = trainer.fit(train, valid, saved=True, show_progress=False)
        seconds = time.perf_counter() - began
        trainer.eval_collector = collector = tie_collector(config)
        columns = {}
        for part, loader in (("valid", valid), ("test", test)):
            trainer.evaluate(loader, load_best_model=True, show_progress=False)
            found = collector.targets_in_order()
            item = torch.from_numpy(found.pop("item"))
            found["held_out"] = train._dataset.held_out_items[item].numpy()
            found["cold"] = ~train._dataset.train_items[item].numpy()
            found["session"] = found.pop(config["USER_ID_FIELD"])
            columns.update({f"{part}_{name}": column for name, column in found.items()})
        biases = {}
        if fold == 0 and isinstance(getattr(network, "scoring", None), ColdScoring):  # where it is chosen
            for tried in BIASES:
                network.scoring.bias, network.scoring.repeat_bias = tried
                trainer.evaluate(valid, load_best_model=True, show_progress=False)
                columns_of = {
                    f"valid_{name}": column for name, column in collector.targets_in_order().items()
                }
                columns_of["valid_cold"] = columns["valid_cold"]
                biases[f"{tried[0]:g}, {tried[1]:g}"] = summary(columns_of)
        facts = {
            "by_cold_bias": biases,
            "epochs": len(trainer.train_loss_dict),
            "best_valid": float(score),
            "seconds": seconds,
            "notes": [*data.notes, *getattr(network, "notes", [])],
            "items": train._dataset.item_num - 1,
            "training_events": int(train._dataset.training_counts().sum()),
            "commit": commit(),
            "device": _device_name(config["device"]),
        }
    return facts, columns


def file_of(folder: Path, dataset: str, variant: str, fold: int) -> Path:
    """Where a run is kept, without its ending."""
    return folder / f"{dataset}_{variant}_{fold}".replace(" ", "-")


def run(
    folder: Path, datasets: list[str], variants: list[str], folds: list[int], extra: dict[str, Any]
) -> None:
    """Make the runs that are not there yet."""
    import recbole_ext

    recbole_ext.install()
    folder.mkdir(parents=True, exist_ok=True)
    if not torch.cuda.is_available():
        extra = {"precision": "fp32", **extra}
    for dataset in datasets:
        for fold in folds:
            for variant in variants:
                place = file_of(folder, dataset, variant, fold)
                if place.with_suffix(".json").is_file():
                    continue
                model, keys = VARIANTS[variant]
                facts, columns = measure(dataset, model, {**keys, **extra}, fold)
                np.savez_compressed(place.with_suffix(".npz"), **columns)
                facts |= {"dataset": dataset, "variant": variant, "model": model, "keys": keys, "fold": fold}
                place.with_suffix(".json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
                print(
                    f"{place.name}: {facts['epochs']} epochs in {facts['seconds']:.0f} s, {summary(columns)}",
                    flush=True,
                )


def summary(columns: dict[str, np.ndarray], part: str = "valid") -> str:
    """HR and MRR of a run's targets, and of the cold ones."""
    hit, reciprocal = expected_gains(columns[f"{part}_higher"], columns[f"{part}_tied"])
    cold = columns[f"{part}_cold"]
    return (
        f"{part} HR@{K} {hit.mean():.4f} MRR@{K} {reciprocal.mean():.4f}, "
        f"cold HR@{K} {hit[cold].mean():.4f} MRR@{K} {reciprocal[cold].mean():.4f}"
    )


class Gains:
    """(T,) each, over the targets of all folds: expected hit, reciprocal rank and ndcg, session, cold, held_out."""

    def __init__(self, folder: Path, dataset: str, variant: str, folds: list[int], part: str):
        self.facts: list[dict[str, Any]] = []
        pieces = []
        for fold in folds:
            place = file_of(folder, dataset, variant, fold)
            self.facts.append(json.loads(place.with_suffix(".json").read_text(encoding="utf-8")))
            with np.load(place.with_suffix(".npz")) as columns:
                piece = {key: columns[f"{part}_{key}"] for key in self.KEYS}
            # RecBole's ids shift where a training session has lost all its events; the order of sessions does not
            piece["session"] = np.unique(piece["session"], return_inverse=True)[1].reshape(-1)
            if pieces and not np.array_equal(piece["session"], pieces[0]["session"]):
                raise ValueError(f"the {part} targets of {place} are not those of fold {folds[0]}")
            pieces.append(piece)
        columns = {key: np.concatenate([piece[key] for piece in pieces]) for key in self.KEYS}
        self.cold, self.held_out = columns["cold"], columns["held_out"]
        self.session = columns["session"]
        self.hit, self.reciprocal = expected_gains(columns["higher"], columns["tied"])
        self.ndcg = expected_ndcg(columns["higher"], columns["tied"])

    KEYS = ("higher", "tied", "cold", "held_out", "session")


def mean_columns(found: dict[str, Gains]) -> tuple[list[str], list[list[str]]]:
    """Heads of the columns of means, and each model's cells: mean [95 % bootstrap interval over sessions]."""
    first = next(iter(found.values()))
    hits = np.stack([gains.hit for gains in found.values()], axis=1)
    reciprocals = np.stack([gains.reciprocal for gains in found.values()], axis=1)
    ndcgs = np.stack([gains.ndcg for gains in found.values()], axis=1)
    natural = first.cold & ~first.held_out
    heads, cells = [], []
    for head, values, chosen in (
        (f"Overall HR@{K}", hits, np.ones_like(first.cold)),
        (f"Overall MRR@{K}", reciprocals, np.ones_like(first.cold)),
        ("Overall NDCG@10", ndcgs, np.ones_like(first.cold)),
        (f"Warm HR@{K}", hits, ~first.cold),
        (f"Cold HR@{K}", hits, first.cold),
        ("held out", hits, first.held_out),
        ("natural", hits, natural),
        (f"Cold MRR@{K}", reciprocals, first.cold),
        ("Cold NDCG@10", ndcgs, first.cold),
    ):
        heads.append(head)
        if not chosen.any():
            cells.append(["-"] * len(found))
            continue
        got = bootstrap_means(values[chosen], first.session[chosen], draws=MEAN_DRAWS)
        cells.append([f"{mean:.4f} [{low:.4f}, {high:.4f}]" for mean, low, high in zip(*got, strict=True)])
    return heads, [list(row) for row in zip(*cells, strict=True)]


def p_columns(found: dict[str, Gains]) -> tuple[list[str], list[list[str]]]:
    """Heads of the columns of our models, and each model's p: do its hits on cold targets differ from ours?"""
    ours = [name for name in OURS if name in found]
    first = next(iter(found.values()))
    pairs = [(row, name) for row in found for name in ours if row != name]
    cells = dict.fromkeys(((name, name) for name in ours), "-")
    if pairs and first.cold.any():
        differences = np.stack([found[name].hit - found[row].hit for row, name in pairs], axis=1)
        tested = paired_tests(differences[first.cold], first.session[first.cold], draws=TEST_DRAWS)
        for pair, difference, p in zip(pairs, tested["difference"], tested["p"], strict=True):
            cells[pair] = f"{p:.2g}" + (" (lower)" if difference < 0 else "")
    rows = [[cells.get((row, name), "-") for name in ours] for row in found]
    return [f"p, {name}" for name in ours], rows


def pairs_table(found: dict[str, Gains]) -> str:
    """What models gain or lose against the same model with less, over all, warm and cold targets."""
    parts = ("overall", "warm", "cold")
    head = ["model", "against", *(f"{part} {metric}" for metric in (f"HR@{K}", "NDCG@10") for part in parts)]
    rows = []
    for name, plain in PAIRS:
        if name not in found or plain not in found:
            continue
        mine, other = found[name], found[plain]
        row = [f"**{name}**" if name in OURS else name, plain]
        for values, before in ((mine.hit, other.hit), (mine.ndcg, other.ndcg)):
            for chosen in (np.ones_like(mine.cold), ~mine.cold, mine.cold):
                if not chosen.any():
                    row.append("-")
                    continue
                got = paired_test(values[chosen], before[chosen], mine.session[chosen], draws=TEST_DRAWS)
                row.append(
                    f"{got['difference']:+.4f} [{got['low']:+.4f}, {got['high']:+.4f}], p {got['p']:.2g}"
                )
        rows.append(row)
    return markdown(head, rows) if rows else ""


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("| --- ", "|---")


def made_with(found: dict[str, Gains]) -> str:
    """Which commit and device made which rows, with the folds where they are not all."""
    rows: dict[str, list[str]] = {}
    for variant, gains in found.items():
        by_source: dict[str, list[str]] = {}
        for facts in gains.facts:
            source = f"commit {facts['commit']}, {facts['device']}"
            by_source.setdefault(source, []).append(str(facts["fold"]))
        for source, folds in by_source.items():
            some = f" (fold {', '.join(folds)})" if len(by_source) > 1 else ""
            rows.setdefault(source, []).append(variant + some)
    one = len(rows) == 1
    text = "; ".join(source if one else f"{source}: {', '.join(names)}" for source, names in rows.items())
    return f"C{text[1:]}."


def table(folder: Path, dataset: str, variants: list[str], folds: list[int], part: str) -> str:
    """The section of one data set, of the variants that have all folds."""
    there = [
        v
        for v in variants
        if all(file_of(folder, dataset, v, f).with_suffix(".json").is_file() for f in folds)
    ]
    if not there:
        return f"No run of {dataset}."
    found = {v: Gains(folder, dataset, v, folds, part) for v in there}
    first = found[there[0]]
    natural = first.cold & ~first.held_out
    numbers = ", ".join(str(f["training_events"]) for f in first.facts)
    text = (
        f"{first.facts[0]['items']:,} items; by fold ({', '.join(map(str, folds))}) {numbers} training events; "
        f"{len(first.cold):,} {part} targets of all folds, of which {int(first.held_out.sum()):,} are held out and "
        f"{int(natural.sum()):,} natural cold ones, in {len(np.unique(first.session[first.cold])):,} sessions."
    )
    heads, means = mean_columns(found)
    p_heads, p = p_columns(found)
    rows = [
        [
            f"**{v}**" if v in OURS else v,
            *means[place],
            f"{np.mean([f['epochs'] for f in found[v].facts]):.0f}",
            *p[place],
        ]
        for place, v in enumerate(found)
    ]
    lines = markdown(["model", *heads, "epochs", *p_heads], rows)
    return "\n\n".join(part for part in (text, lines, pairs_table(found), made_with(found)) if part)


def main() -> None:
    """Run the grid, or write its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--datasets", default="diginetica-demo,retailrocket-demo,diginetica")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--folds", default="1,2,3")
    parser.add_argument("--part", default="test", choices=("valid", "test"))
    parser.add_argument(
        "--raw-path", help="folder of the raw logs, for one data set whose atomic files are missing"
    )
    parser.add_argument("--epochs", type=int)
    parser.add_argument(
        "--out", type=Path, help="Markdown file whose sections `table` replaces; else it is printed"
    )
    given = parser.parse_args()
    datasets, variants = given.datasets.split(","), given.variants.split(",")
    folds = [int(fold) for fold in given.folds.split(",")]
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        parser.error(f"{unknown[0]} is no variant: choose from {', '.join(VARIANTS)}")
    if given.what == "run":
        extra: dict[str, Any] = {"raw_path": given.raw_path} if given.raw_path else {}
        if given.epochs is not None:
            extra["epochs"] = given.epochs
        run(given.folder, datasets, variants, folds, extra)
        return
    for dataset in datasets:
        section = table(given.folder, dataset, variants, folds, given.part)
        if given.out is None:
            print(f"## {dataset}\n\n{section}\n")
        else:
            write_section(given.out, dataset, section)


if __name__ == "__main__":
    main()
