"""Atomic files that are there already: used, and a difference to the configuration is said."""

import logging

import pytest

from recbole_ext.bridge.prepare import prepare_atomic_files


class Settings(dict):
    """Stands for RecBole's Config: a key that is not there is None."""

    def __missing__(self, key):
        return None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"test_days": 7, "events": "buyers.csv", "properties": [], "features": 790, "strict": False}, []),
        ({"test_days": 14}, ["test_days 7, and convert_options says 14"]),
        ({"events": "events.csv"}, ["events buyers.csv, and convert_options says events.csv"]),
        ({"all_items": True, "session": "visitor"}, ["all_items", "session idle"]),
        (None, []),
    ],
)
def test_other_options_than_those_of_the_files_are_said(tmp_path, write_log, caplog, options, said):
    made = {
        "test_days": 7,
        "events_file": "buyers.csv",
        "features": ["790"],
        "session": "idle",
        "strict": False,
    }
    write_log([{"session_id": "a", "item_id": "b", "timestamp": 0}], manifest={"options": made})
    config = Settings(dataset="toy", data_path=str(tmp_path / "data" / "toy"), convert_options=options)
    with caplog.at_level(logging.WARNING):
        prepare_atomic_files(config)
    assert len(caplog.messages) == len(said)
    for message, part in zip(caplog.messages, said):
        assert part in message and "delete that folder" in message
