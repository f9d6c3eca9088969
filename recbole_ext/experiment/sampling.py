"""Keys that say how settings are tried: who draws them, which trials end early, how long, and where that is noted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from recbole_ext.errors import UsageError
from recbole_ext.experiment.space import Space
from recbole_ext.settings.base import NoneWord, Number, Role, Settings, Text, key


class Sampling(Settings):
    """How the search of an experiment goes through its space; equal for all of its models."""

    role: ClassVar[Role] = Role.TRAINING

    sampler: Literal["grid", "random", "tpe", "gp"] = key(
        "grid",
        "grid: a drawn part of all combinations of lists; the others draw from lists and ranges: at random, by a "
        "tree-structured Parzen estimator, by a Gaussian process",
    )
    pruner: Annotated[Literal["none", "median", "hyperband"], NoneWord] = key(
        "none", "which trials end before their last epoch, by their validation scores so far"
    )
    search_minutes: Number | None = key(
        None, "of a model's trials on a data set, added up; ~: search_trials alone says how many", gt=0
    )
    search_storage: Text | None = key(
        None, "URL of a database that several machines share; ~: a journal file in the experiment's folder"
    )

    @property
    def sampled(self) -> bool:
        """Whether trials are asked of a study one by one, and not listed at the start."""
        return self.sampler != "grid" or self.pruner != "none"

    def check(self, spaces: Sequence[Space]) -> None:
        """Raise UsageError where it cannot go through these spaces."""
        of_study = [name for name in ("search_minutes", "search_storage") if getattr(self, name) is not None]
        if of_study and not self.sampled:
            raise UsageError(
                f"{of_study[0]} is {getattr(self, of_study[0])}, and sampler grid lists its trials at the start: write "
                "sampler: random, tpe or gp, or leave it out"
            )
        if self.sampler != "grid":
            return
        for space in spaces:
            for name, knob in space.items():
                if knob.is_range or knob.when is not None:
                    what = "a range" if knob.is_range else "a condition"
                    raise UsageError(
                        f"search gives {name} {what}, and sampler grid combines lists alone: write sampler: random, "
                        "tpe or gp"
                    )
