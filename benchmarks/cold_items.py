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
    "HRNNFeat repeat_bias 0": ("HRNNFeat", {**TRAINED, "repeat_bias": 0.0}),
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


def expected_gains(higher: np.ndarray, tied: np.ndarray, k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """(T,) chance to be among the k best and expected reciprocal rank there, for targets below `higher` items that
    share their place with `tied` others in random order."""
    seats = np.clip(k - higher, 0, tied + 1)
    harmonic = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, k + 1))))
    first = np.minimum(higher, k)
    return seats / (tied + 1), (harmonic[first + seats] - harmonic[first]) / (tied + 1)


def counted(scores: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) how many of scores (B, n_items) are above the target's own (B,), and how many others tie with it."""
    margin = own.abs().clamp_min(1).unsqueeze(1) * 1e-6
    above = scores > own.unsqueeze(1) + margin
    near = (scores - own.unsqueeze(1)).abs() <= margin
    return above.sum(1), (near.sum(1) - 1).clamp_min(0)


def tie_collector(config: Any) -> Any:
    """RankCollector that also keeps how many items are above each target, and how many tie with it."""
    from recbole_ext.evaluate.ranks import RankCollector

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

    from recbole_ext.config import check_keys, check_values, command_line
    from recbole_ext.data.sources import prepare_atomic_files
    from recbole_ext.model.item_encoder import ColdScoring
    from recbole_ext.report.record import _commit, _device_name

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
        check_keys(config)
        check_values(config)
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
        if isinstance(getattr(network, "scoring", None), ColdScoring):
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
            "commit": _commit(),
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
    """Sums over the targets of each session and fold: hits, reciprocal ranks and counts, for some of the targets."""

    def __init__(self, folder: Path, dataset: str, variant: str, folds: list[int], part: str):
        self.facts: list[dict[str, Any]] = []
        pieces = []
        for fold in folds:
            place = file_of(folder, dataset, variant, fold)
            self.facts.append(json.loads(place.with_suffix(".json").read_text(encoding="utf-8")))
            with np.load(place.with_suffix(".npz")) as columns:
                pieces.append({key: columns[f"{part}_{key}"] for key in self.KEYS})
        columns = {key: np.concatenate([piece[key] for piece in pieces]) for key in self.KEYS}
        self.cold, self.held_out = columns["cold"], columns["held_out"]
        self.session = columns["session"]
        self.hit, self.reciprocal = expected_gains(columns["higher"], columns["tied"])

    KEYS = ("higher", "tied", "cold", "held_out", "session")

    def sums(self, values: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(S,) sums over the chosen targets of each session that has any, whatever the fold, and their numbers."""
        sessions, place = np.unique(self.session[chosen], return_inverse=True)
        place = place.reshape(-1)
        return (
            np.bincount(place, weights=values[chosen], minlength=len(sessions)),
            np.bincount(place, minlength=len(sessions)),
        )


def interval(total: np.ndarray, count: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over targets, sessions drawn with replacement; total, count: (S,)."""
    random = np.random.default_rng(1)
    means = []
    for _ in range(draws):
        pick = random.integers(len(total), size=len(total))
        means.append(total[pick].sum() / count[pick].sum())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def sign_flip_p(difference: np.ndarray, draws: int = 20000) -> float:
    """Two-sided p that a sum of session differences (S,) is 0, the sign of each session's drawn at random."""
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    random = np.random.default_rng(1)
    observed = abs(difference.sum()) - 1e-9
    beyond, done = 0, 0
    while done < draws:
        some = min(1000, draws - done)
        signs = random.integers(0, 2, (some, len(difference)), dtype=np.int8) * 2 - 1
        beyond += int((np.abs(signs @ difference) >= observed).sum())
        done += some
    return (beyond + 1) / (draws + 1)


def rows(folder: Path, dataset: str, variants: list[str], folds: list[int], part: str) -> tuple[str, str]:
    """What the runs hold, in a sentence or two, and the table of one data set."""
    found = {v: Gains(folder, dataset, v, folds, part) for v in variants}
    first = found[variants[0]]
    natural = first.cold & ~first.held_out
    facts = first.facts
    numbers = ", ".join(str(f["training_events"]) for f in facts)
    text = (
        f"{facts[0]['items']:,} items; by fold ({', '.join(map(str, folds))}) {numbers} training events; "
        f"{len(first.cold):,} {part} targets of all folds, of which {int(first.held_out.sum()):,} are held out and "
        f"{int(natural.sum()):,} natural cold ones, in {len(np.unique(first.session[first.cold])):,} sessions."
    )
    everything = np.ones(len(first.cold), dtype=bool)
    lines = [
        "| model | Overall HR@20 | Overall MRR@20 | Cold HR@20 | held out | natural | Cold MRR@20 | epochs | "
        + " | ".join(f"p, {name}" for name in OURS if name in found)
        + " |"
    ]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    for variant, gains in found.items():
        cells = [f"**{variant}**" if variant in OURS else variant]
        for values, chosen in (
            (gains.hit, everything),
            (gains.reciprocal, everything),
            (gains.hit, gains.cold),
            (gains.hit, gains.held_out),
            (gains.hit, natural),
            (gains.reciprocal, gains.cold),
        ):
            if not chosen.any():
                cells.append("-")
                continue
            low, high = interval(*gains.sums(values, chosen))
            cells.append(f"{values[chosen].mean():.4f} [{low:.4f}, {high:.4f}]")
        cells.append(f"{np.mean([f['epochs'] for f in gains.facts]):.0f}")
        for name in OURS:
            if name not in found:
                continue
            mine = found[name]
            difference = mine.sums(mine.hit - gains.hit, mine.cold)[0]
            sign = "" if difference.sum() >= 0 else " (lower)"
            cells.append("-" if name == variant else f"{sign_flip_p(difference):.2g}{sign}")
        lines.append("| " + " | ".join(cells) + " |")
    return text, "\n".join(lines)


def table(folder: Path, dataset: str, variants: list[str], folds: list[int], part: str) -> str:
    """The section of one data set, of the variants that have all folds."""
    there = [
        v
        for v in variants
        if all(file_of(folder, dataset, v, f).with_suffix(".json").is_file() for f in folds)
    ]
    if not there:
        return f"No run of {dataset}."
    text, lines = rows(folder, dataset, there, folds, part)
    facts = [
        json.loads(file_of(folder, dataset, v, folds[0]).with_suffix(".json").read_text(encoding="utf-8"))
        for v in there
    ]
    commits = sorted({str(f["commit"]) for f in facts})
    devices = sorted({str(f["device"]) for f in facts})
    return f"{text}\n\n{lines}\n\nCommit {', '.join(commits)}, {', '.join(devices)}."


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
