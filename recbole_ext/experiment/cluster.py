"""Keys of an experiment whose cells run on a Ray cluster."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from recbole_ext.settings.base import Role, Settings, Text, key


class Cluster(Settings):
    """Where the cells of an experiment run, if not on this machine."""

    role: ClassVar[Role] = Role.PLACE

    ray: Text | None = key(
        None, "address of a Ray cluster, HOST:PORT, or auto: the one that this machine is part of"
    )
    gpus_per_cell: Annotated[float, Field(allow_inf_nan=False)] | None = key(
        None, "of a GPU that a cell takes; ~: a whole one where there are GPUs, else none", ge=0, le=1
    )
