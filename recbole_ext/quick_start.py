"""One experiment, start to end: configuration, data, training, evaluation, record."""

from __future__ import annotations

import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

USAGE = """usage: python run.py --model=NAME --dataset=NAME [--key=value ...]

  --model=HRNNFeat           one of ours, or any RecBole model (GRU4Rec, SASRec, NARM, Pop, ...)
  --model=SASRec,SASRecSQN --seed=1,2,3   several, one after the other, and a table of them
  --dataset=diginetica       a file of configs/dataset/, or a folder of atomic files in atomic_data/
  --config_files="a.yaml b.yaml"   more settings, later files win
  --key=value                any key of RecBole or of configs/*.yaml, for example --epochs=5 --raw_path=FOLDER
"""


def run(
    model: str,
    dataset: str,
    config_dict: dict[str, Any] | None = None,
    config_file_list: Sequence[str] | None = None,
    saved: bool = True,
) -> dict[str, Any]:
    """Train `model` on `dataset`, evaluate it on the test part, and return the run's record.

    Args:
        config_dict: keys of RecBole and of configs/*.yaml; they win over every file.
        config_file_list: yaml files, later ones win.
        saved: keep the best checkpoint and test that; otherwise the last epoch's weights are tested.

    Raises:
        recbole_ext.config.UsageError: an unknown name or key, or a combination that cannot work.
        recbole_ext.convert.ConvertError: raw logs that are missing or cannot be read.
    """
    import recbole_ext

    recbole_ext.install()
    from recbole.config import Config
    from recbole.utils import init_logger, init_seed

    from recbole_ext.config import UsageError, check_keys, check_names, check_values, command_line
    from recbole_ext.data.sources import prepare_atomic_files

    check_names(model)
    try:
        with command_line([]):
            config = Config(model, dataset, list(config_file_list or []) or None, dict(config_dict or {}))
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        # all that Config does is read settings, so whatever it cannot read is one
        raise UsageError(f"a setting cannot be used: {error}") from error
    folder = Path(config["data_path"])
    if not config["source"]:
        check_names(model, dataset, folder.parent if folder.exists() else "atomic_data")
    check_keys(config)
    check_values(config)
    if int(config["nproc"] or 1) > 1 or int(config["world_size"] or 1) > 1:
        raise UsageError(
            "a run with a record is one process: for several call recbole.quick_start.run(..., nproc=N) in Python "
            "after recbole_ext.install()"
        )
    if "show_progress" not in config.external_config_dict:
        config["show_progress"] = sys.stderr.isatty()  # a bar in a log file is noise
    prepare_atomic_files(config)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    getLogger().info(config)
    return _experiment(config, saved)


def _experiment(config: Any, saved: bool) -> dict[str, Any]:
    import recbole.data
    from recbole.utils import get_model, get_trainer, init_seed

    from recbole_ext.evaluate.ranks import RankCollector
    from recbole_ext.report.record import Run

    run = Run(config)
    logger = getLogger()
    began = time.perf_counter()
    dataset = recbole.data.create_dataset(config)
    train, valid, test = recbole.data.data_preparation(config, dataset)
    logger.info(dataset)
    run.data_ready(train, valid, test, time.perf_counter() - began)
    off_policy = _off_policy(config, train, valid, test)

    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    logger.info(model)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector = RankCollector(config)
    trainer.eval_collector.off_policy = off_policy
    if config["resume_from"]:
        _resume(trainer, config["resume_from"])

    began = time.perf_counter()
    try:
        best_score, best_valid = trainer.fit(
            train, valid, saved=saved, show_progress=config["show_progress"], callback_fn=run.epoch(trainer)
        )
    except KeyboardInterrupt:
        if Path(trainer.saved_model_file).exists():
            print(f"continue with --resume_from={trainer.saved_model_file}", file=sys.stderr)
        raise
    run.trained(trainer, best_score, best_valid, time.perf_counter() - began)

    began = time.perf_counter()
    trainer.eval_collector.start()
    result = trainer.evaluate(test, load_best_model=saved, show_progress=config["show_progress"])
    targets = trainer.eval_collector.targets()
    run.tested(result, targets, test._dataset, time.perf_counter() - began)
    if off_policy is not None:
        run.record["off_policy"] = off_policy.to_record()
    return run.write()


def _off_policy(config: Any, train: Any, valid: Any, test: Any) -> Any:
    """What estimates the value of the model's policy beside the metrics, None where it is not asked for."""
    if config["off_policy"] is None:
        return None
    from recbole_ext.evaluate.off_policy import OffPolicy

    return OffPolicy(config, train._dataset, valid._dataset if valid else None, test._dataset)


def _resume(trainer: Any, file: str) -> None:
    from recbole_ext.config import UsageError

    try:
        trainer.resume_checkpoint(file)
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"resume_from names {file}, which does not exist") from error
    except Exception as error:  # a foreign file can fail in any way
        raise UsageError(
            f"resume_from {file} is no checkpoint of this model with these sizes: {str(error).splitlines()[0]}"
        ) from error


def _cells(model: str, settings: dict[str, Any]) -> list[tuple[str, Any]]:
    """(model, seed) of every run that `--model=A,B --seed=1,2` asks for; seed None: the configured one."""
    from recbole_ext.config import UsageError

    seed = settings.get("seed")
    seeds = list(seed) if isinstance(seed, tuple | list) else [seed]
    models = [name.strip() for name in model.split(",")]
    if not all(models) or len(set(models)) < len(models) or len(set(seeds)) < len(seeds):
        raise UsageError(f"--model={model} --seed={seed}: name every model and seed once, parted by commas")
    return [(name, seed) for seed in seeds for name in models]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of run.py and `python -m recbole_ext`; returns the exit code, 2 for a user's mistake."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0 if arguments else 2
    # torch's threads spin while they wait, which makes a busy machine many times slower; it is read once, at import
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")  # nothing a user can mend

    from recbole_ext.config import UsageError, parse_command_line
    from recbole_ext.convert import ConvertError

    try:
        settings = parse_command_line(arguments)
        model, dataset = settings.pop("model", None), settings.pop("dataset", None)
        if not model or not dataset:
            raise UsageError(
                "--model=NAME and --dataset=NAME are both needed: try --model=HRNNFeat --dataset=diginetica-demo"
            )
        files = shlex.split(str(settings.pop("config_files", "")))
        if not all(isinstance(name, str) for name in (model, dataset)):
            raise UsageError(f"--model={model} --dataset={dataset}: a name is a word")
        for file in files:
            if not Path(file).is_file():
                raise UsageError(f"--config_files names {file}, which does not exist")
        from recbole_ext.report.tables import comparison_table, result_table

        records = []
        for name, seed in _cells(model, settings):
            keys = {**settings, "seed": seed} if seed is not None else settings
            records.append(run(name, dataset, keys, files))
            print(result_table(records[-1]), flush=True)
        if len(records) > 1:
            print(comparison_table(records))
    except (UsageError, ConvertError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
