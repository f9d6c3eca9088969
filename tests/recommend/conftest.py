"""Runs of a small shop's log, made once: their folders, and the log that they learnt from."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

ITEMS = 40
FEATURES = {"embedding_size": 8, "hidden_size": 8, "epochs": 2, "learning_rate": 0.01}


@dataclass
class Shop:
    """A run: its record and folder. log: the events, session by session, in order. items: the features."""

    record: dict[str, Any]
    folder: Path
    log: pd.DataFrame
    items: pd.DataFrame

    @property
    def ranks(self) -> dict[str, np.ndarray]:
        """What the evaluation kept of every target."""
        with np.load(self.folder / "ranks.npz") as arrays:
            return dict(arrays)

    def prefixes(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The test prefixes as sessions of now, by their number, each of a visitor of its own; and what the log has of
        the same visitors beside their session."""
        kept, sessions = self.ranks, dict(list(self.log.groupby("session")))
        asked, past = [], []
        for number, (session, length) in enumerate(zip(kept["session_token"], kept["item_length"])):
            own = sessions[session].head(int(length)).assign(session=number, user=number)
            user = sessions[session]["user"].iloc[0]
            others = self.log[(self.log["user"] == user) & (self.log["session"] != session) & (user != "")]
            asked.append(own)
            past.append(others.assign(user=number))
        return pd.concat(asked), pd.concat(past)


def write_shop(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Atomic files of a log in which items come one after the other, some of them only in the test part."""
    random = np.random.default_rng(5)
    rows, time = [], 0.0
    for number in range(120):
        time += float(random.integers(3600, 20_000))
        item = int(random.integers(ITEMS - 3 if number < 96 else ITEMS))
        for step in range(int(random.integers(2, 7))):
            kind = "purchase" if random.random() < 0.2 else "view"
            user = "" if number % 3 == 0 else f"u{number % 7}"
            rows.append((f"s{number}", user, f"i{item}", time + 30.0 * step, kind))
            if random.random() < 0.3:
                item = int(random.integers(ITEMS - 3 if number < 96 else ITEMS))
            else:
                item = (item + 1) % (ITEMS - 3)
    log = pd.DataFrame(rows, columns=["session", "user", "item", "time", "event"])
    items = pd.DataFrame(
        {
            "item": [f"i{n}" for n in range(ITEMS)],
            "category": [f"c{n % 5}" for n in range(ITEMS)],
            "price": ["" if n % 11 == 3 else str(n / 2) for n in range(ITEMS)],
            "available": [str(n % 2) for n in range(ITEMS)],
        }
    )
    place = folder / "data" / "shop"
    place.mkdir(parents=True)
    head = "session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\tevent:token"
    lines = [head, *("\t".join(map(str, row)) for row in rows)]
    (place / "shop.inter").write_text("\n".join(lines) + "\n")
    head = "item_id:token\tcategory:token\tprice:float\tavailable:token"
    lines = [head, *("\t".join(row) for row in items.itertuples(index=False))]
    (place / "shop.item").write_text("\n".join(lines) + "\n")
    return log, items


@contextlib.contextmanager
def without_curves():
    """Runs draw no learning curve, which takes longer than they do."""
    with pytest.MonkeyPatch.context() as patch:
        from recbole_ext.run import record

        patch.setattr(record, "plot_learning_curve", lambda *args: args[-1].touch())
        yield


@pytest.fixture(scope="session")
def shop_run(tmp_path_factory):
    """Runs of the shop, by model, each made once; the working directory is another one then."""
    import recbole_ext

    folder = tmp_path_factory.mktemp("shop")
    log, items = write_shop(folder)
    made: dict[str, Shop] = {}

    def run(model: str, label: str = "", **settings: Any) -> Shop:
        label = label or model
        if label not in made:
            given = {"data_path": "data", "use_gpu": False, "state": "ERROR", "show_progress": False}
            given["eval_args"] = {"split": {"session_time": [0.7, 0.1, 0.2]}}
            with contextlib.chdir(folder), without_curves():
                record = recbole_ext.run(model, "shop", **{**given, **settings})
            place = folder / Path(record["files"]["record"]).parent
            made[label] = Shop(record, place, log, items)
        return made[label]

    return run


@pytest.fixture(scope="session")
def hrnn(shop_run):
    """HRNNFeat with a pointer into the visitors' pasts."""
    return shop_run("HRNNFeat", **FEATURES)


@pytest.fixture(scope="session")
def vstan(shop_run):
    return shop_run("VSTAN")


@pytest.fixture(scope="session")
def asked_hrnn(hrnn):
    """Its Recommender; whoever adds items loads one of their own."""
    import recbole_ext

    return recbole_ext.load(hrnn.folder)


@pytest.fixture(scope="session")
def asked_vstan(vstan):
    import recbole_ext

    return recbole_ext.load(vstan.folder)
