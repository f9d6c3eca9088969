"""Atomic files where they are missing: generated demo logs and raw logs are converted once, on the way to a run."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_ext.data.manifest import manifest
from recbole_ext.errors import UsageError


def prepare_atomic_files(config: Any) -> None:
    """Convert the data set's raw logs when its `.inter` file is missing.

    Keys: `source` names the converter, `raw_path` the folder of the raw logs (default raw_data/<dataset>),
    `convert_options` the converter's options, `generate` the generator's options for demo data.

    Raises:
        UsageError: there are no atomic files and the data set's yaml names no source.
        ConvertError: the raw logs are missing or cannot be read.
    """
    name, out = config["dataset"], Path(config["data_path"])
    if (out / f"{name}.inter").is_file():
        _compare_options(config["convert_options"], out)
        return
    if config["benchmark_filename"] or name == "ml-100k":
        return
    source = config["source"]
    if not source:
        raise UsageError(
            f"{out / name}.inter does not exist and no `source` says which raw logs it comes from: "
            f"put the atomic files there, or write configs/dataset/{name}.yaml"
        )
    from recbole_ext.convert import convert  # polars is only needed to convert

    for key in ("convert_options", "generate"):
        if not isinstance(config[key] or {}, dict):
            raise UsageError(f"{key} is {config[key]}: write a dict of options, such as {{strict: True}}")
    raw = Path(config["raw_path"] or Path("raw_data") / name)
    logger = getLogger()
    if config["generate"] and not raw.exists():
        from recbole_ext.convert.synthetic import generate

        logger.warning("generating demo logs in %s", raw)
        generate(out=raw, **config["generate"])
    logger.warning("converting %s to atomic files in %s", raw, out)
    convert(source, raw, out, **(config["convert_options"] or {}))


def _compare_options(options: Any, out: Path) -> None:
    """Warn where the atomic files in `out` were converted with other options than the configuration names."""
    made = manifest(str(out)).get("options")
    if not isinstance(made, dict) or not isinstance(options, dict):
        return
    for key, value in options.items():
        recorded = next((made[name] for name in (key, f"{key}_file", f"{key}_files") if name in made), None)
        if _as_texts(recorded) != _as_texts(value):
            getLogger().warning(
                "%s was converted with %s %s, and convert_options says %s: delete that folder to convert again",
                out,
                key,
                recorded,
                value,
            )


def _as_texts(value: Any) -> list[str]:
    """An option's value, or values, as text: yaml writes numbers and single values, the manifest lists of names."""
    values = value if isinstance(value, list | tuple) else [value]
    return [str(one) for one in values if one not in (None, False)]
