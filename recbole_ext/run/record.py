"""A run is a record: one folder with record.json, ranks.npz (per-target ranks and top items) and, of a single run, its
learning curve."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_ext import records
from recbole_ext.bridge.description import describe_split, protocol_label
from recbole_ext.bridge.own_models import class_of, own_classes
from recbole_ext.data.loaders import worker_note
from recbole_ext.data.replay import trained_to
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.facts import check_log, target_facts
from recbole_ext.evaluate.slices import by_kind, reward_at, slice_means
from recbole_ext.files import cannot_write, check_writable, commit, unique, write_beside
from recbole_ext.plain import config_to_plain
from recbole_ext.processes import current
from recbole_ext.report.model_card import model_card
from recbole_ext.rewards import check_rewards, event_kinds
from recbole_ext.run.curve import plot_learning_curve
from recbole_ext.run.model_folder import write_model_folder
from recbole_ext.run.model_place import FOLDER
from recbole_ext.settings.place import Place
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.version import __version__

PACKAGES = ("recbole", "torch", "numpy", "pandas", "scipy", "polars")


class Run:
    """Collects what a run does and writes it down at its end."""

    def __init__(
        self, config: Any, folder: Path | None = None, watch: Callable[[int, float], None] | None = None
    ):
        """`folder`: where to write, of a cell of an experiment, whose report draws its curve; None: of a single run,
        which draws its own, a new one in `runs_dir`. `watch`: called with each validation score too, see `run`."""
        started = datetime.now(UTC)
        stamp = started.strftime("%Y%m%d-%H%M%S-%f")[:-3]
        self.config = config
        self.watch = watch
        self.own_classes = own_classes()  # their files as they are now
        for key in ("runs_dir", "checkpoint_dir"):  # found out now, not after training
            try:
                check_writable(config[key])
            except OSError as error:
                raise UsageError(
                    f"{key} {config[key]} is no folder that can be written: {error.strerror}"
                ) from error
        name = f"{config['model']}-{config['seed']}-{stamp}-{unique()}"  # of no two runs, wherever they start
        self.is_cell = folder is not None
        self.folder = folder or Path(config["runs_dir"]) / config["dataset"] / name
        self.epochs: list[dict[str, Any]] = []
        self.arrays: dict[str, Any] = {}  # of numpy, by name
        self.files: dict[str, Path] = {}  # what is written already, by label
        self.listeners: list[
            Callable[[Any], None]
        ] = []  # are given the trainer when it has more to say of its epochs
        self.record: dict[str, Any] = {
            "format": records.FORMAT,
            "model": config["model"],
            **({"label": label} if (label := settings_of(config, Place).label) else {}),
            "dataset": config["dataset"],
            "seed": config["seed"],
            "protocol": protocol_label(config),
            "split": describe_split(config),
            "valid_metric": config["valid_metric"],
            "started": started.isoformat(timespec="seconds"),
            "command": sys.argv,
            "config": config_to_plain(config),
            "versions": _versions(),
            "commit": commit(),
            "device": _device_name(config["device"]),
            "threads": torch.get_num_threads(),
            "processes": current().count,
            "data": _manifest(config),
            "notes": [],
            "seconds": {},
        }

    def data_ready(self, train: Any, valid: Any, test: Any, seconds: float) -> None:
        """Note sizes of the loaders' data sets, what is to be known of them, and the time they took.

        Raises UsageError when `rewards` do not fit the test targets' events, or the log lacks what a key names.
        """
        self.record["seconds"]["prepare"] = seconds
        self.record["counts"] = {
            "train_rows": len(train._dataset),
            "valid_rows": len(valid._dataset) if valid else 0,
            "test_targets": len(test._dataset),
            "items": train._dataset.item_num - 1,
        }
        if isinstance(train._dataset, SessionDataset):
            self.record["trained_to"] = trained_to(train._dataset)
        self.record["notes"] += getattr(test._dataset, "notes", [])
        note = worker_note((train, valid, test))
        self.record["notes"] += [] if note is None else [note]
        if self.config["rewards"]:
            self._check_rewards(test._dataset)
        check_log(test._dataset, self.config)

    def _check_rewards(self, test: Any) -> None:
        field = self.config["EVENT_FIELD"]
        if field not in test.inter_feat or field not in test.field2id_token:
            if getattr(self.config.model_class, "learns_transitions", False):
                return  # it has taken every event for a view, and its notes say what of which reward it learnt
            raise UsageError(
                f"rewards are by the target's event, but the .inter file has no token column {field}: "
                "set EVENT_FIELD to it, or leave rewards out"
            )
        check_rewards(self.config["rewards"], event_kinds(test, field, np.asarray(test.inter_feat[field])))

    def epoch(self, trainer: Any) -> Callable[[int, float], None]:
        """RecBole's end-of-epoch callback."""

        def note(index: int, valid_score: float) -> None:
            trainer.valid_scores = {**getattr(trainer, "valid_scores", {}), index: float(valid_score)}
            for listen in self.listeners:
                listen(trainer)
            if self.watch is not None:
                self.watch(index, float(valid_score))

        return note

    def trained(
        self, trainer: Any, best_score: float, best_valid: dict[str, float] | None, seconds: float
    ) -> None:
        """Note the course of training, also before a resume; epochs without an evaluation have a loss only."""
        for listen in self.listeners:  # epochs of a checkpoint, and of a trainer that calls nobody
            listen(trainer)
        scores = getattr(trainer, "valid_scores", {})
        self.epochs = [
            {"epoch": epoch, "train_loss": float(loss), "valid_score": scores.get(epoch)}
            for epoch, loss in trainer.train_loss_dict.items()
        ]
        values = getattr(trainer, "epoch_values", {})  # what a trainer says of an epoch beside its loss
        self.epochs = [{**e, **values.get(e["epoch"], {})} for e in self.epochs]
        self.record["seconds"]["train"] = seconds
        self.record["epochs"] = self.epochs
        self.record["epochs_run"] = len(self.epochs)
        # a blend of finished models has a score without an epoch
        evaluated = bool(best_valid) or any(e["valid_score"] is not None for e in self.epochs)
        self.record["best_valid_score"] = float(best_score) if evaluated else None
        best = [e["epoch"] for e in self.epochs if evaluated and e["valid_score"] == float(best_score)]
        self.record["best_epoch"] = best[0] if best else None  # from 0
        self.record["valid"] = {k: float(v) for k, v in (best_valid or {}).items()}
        self.record["checkpoint"] = trainer.saved_model_file
        self.record["parameters"] = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        self.record["notes"] += [*getattr(trainer.model, "notes", []), *getattr(trainer, "notes", [])]
        self.record |= getattr(trainer, "for_record", {})  # what else a trainer has found
        parts = getattr(trainer.model, "parts", ()) if self.config["model"] == "Blend" else ()
        models = {class_of(config["model"]) for config in (self.config, *(part.config for part in parts))}
        if own := [each for each in self.own_classes if each["name"] in models]:
            self.record["own_classes"] = own

    def tested(
        self, result: dict[str, float], targets: dict[str, np.ndarray], dataset: Any, seconds: float
    ) -> None:
        """Note the test metrics and keep the targets' ranks, with tokens so that other runs can be joined to them.

        Where test targets are of several event kinds, or `rewards` are given, metrics by kind and rewards join them,
        and so do metrics by slice where the log says more of the targets.
        """
        self.record["seconds"]["test"] = seconds
        self.record["test"] = {k: float(v) for k, v in result.items()}
        if not targets:
            return
        self.record["counts"]["test_targets"] = len(targets["rank"])
        tokens = np.asarray(dataset.field2id_token[dataset.iid_field], dtype=str)
        field = self.config["EVENT_FIELD"]
        self.arrays = {k: v.astype(np.int32, copy=False) for k, v in targets.items() if k != field}
        self.arrays.update(target_facts(dataset, targets, self.config))
        self.arrays["item_token"] = tokens
        if dataset.uid_field in targets:
            sessions = dataset.field2id_token[dataset.uid_field][targets[dataset.uid_field]]
            self.arrays["session_token"] = np.asarray(sessions, dtype=str)
        rewards = self.config["rewards"]
        if field in targets and field in dataset.field2id_token:
            self.arrays["event"] = event_kinds(dataset, field, targets[field])
            self._note_events(targets["rank"], self.arrays["event"], rewards)
        elif rewards:
            self.record["notes"].append("no rewards: this protocol does not know which event a target is")

    def _note_events(self, rank: np.ndarray, kind: np.ndarray, rewards: dict[str, float] | None) -> None:
        topk = self.config["topk"]
        kinds = by_kind(rank, kind, topk)
        if len(kinds) > 1:
            self.record["test_by_event"] = kinds
        if rewards:
            self.record["test_reward"] = reward_at(rank, kind, rewards, topk)

    def keep_model(self, trainer: Any, train: Any, test: Any) -> None:
        """Write the model folder with the weights that were tested; train, test: the loaders.

        Where the disk takes no more, the record says so and is what the run leaves.
        """
        folder = self.folder / FOLDER
        card = model_card(self.record, self.arrays, records.run_name(self.folder))
        try:
            write_model_folder(folder, self.record, self.config, trainer, train._dataset, test._dataset, card)
        except OSError as error:
            self.record["notes"].append(f"no model folder, as {folder} cannot be written: {error.strerror}")
            return
        self.files["model"] = folder

    def write(self) -> dict[str, Any]:
        """Write the folder, record.json last, and return the record.

        What cannot be written is named in the record's notes and in its `not_written`, so that the results can be
        printed all the same. Of a cell there is no record without ranks, which would count as finished.
        """
        self.files = {"record": self.folder / records.RECORD, **self.files}
        checkpoint = self.record.get("checkpoint")
        if checkpoint and Path(checkpoint).is_file():
            self.files["checkpoint"] = Path(checkpoint)
        if self.arrays:
            by_slice = slice_means(self.arrays, self.config["topk"])
            if by_slice:
                self.record["test_slices"] = by_slice
            self._put("ranks", self.folder / "ranks.npz", self._write_ranks)
        if self.epochs and not self.is_cell:
            self._put("learning curve", self.folder / "learning_curve.png", self._draw_curve)
        if not (self.is_cell and "not_written" in self.record):
            self._put("record", self.files["record"], self._write_record)
        return self.record

    def _put(self, label: str, file: Path, write: Callable[[Path], None]) -> None:
        """Write one of the run's files, or note why it is not there."""
        self.files[label] = file
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(file)
        except OSError as error:
            del self.files[label]
            said = cannot_write(error, file)
            self.record["notes"].append(said)
            self.record["not_written"] = [*self.record.get("not_written", []), said]
            self.record["files"] = {name: str(path) for name, path in self.files.items()}

    def _write_ranks(self, file: Path) -> None:
        with write_beside(file) as waiting, waiting.open("wb") as stream:
            np.savez_compressed(stream, **self.arrays)

    def _draw_curve(self, file: Path) -> None:
        title = f"{self.record['model']} on {self.record['dataset']}"
        with write_beside(file) as waiting:
            plot_learning_curve(
                self.epochs, self.record["valid_metric"], self.record["best_valid_score"], title, waiting
            )

    def _write_record(self, file: Path) -> None:
        self.record["files"] = {label: str(path) for label, path in self.files.items()}
        records.write(file.parent, self.record)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "recbole_ext": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def _manifest(config: Any) -> dict[str, Any] | None:
    path = Path(config["data_path"]) / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
