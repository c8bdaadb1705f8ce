"""How pytest-xdist spreads the tests over processes (``pytest --numprocesses``)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

WHOLE_AIRFLOW = re.compile(r"tests/system/test_(browser|clears|distributed|stops)\.py|test_under_airflow_standalone")
SERVER = re.compile(r"(tests/(?:integration|system))/.*[\[-](plain|secure|real)[\]-]")


def group(nodeid: str) -> str:
    """What goes to one process, one after the other.

    A whole Airflow is as much as two cores bear beside other tests, so there is one at a time. Tests of one folder
    that are given the same Milvus share it. All others go wherever there is time.
    """
    if WHOLE_AIRFLOW.search(nodeid):
        return "whole Airflow"
    server = SERVER.match(nodeid)
    return " ".join(server.groups()) if server else nodeid


class Groups(LoadScopeScheduling):
    # loadgroup does the same by markers, but not with pytest 9.2 and pytest-xdist 3.8.
    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    config.option.loadscopereorder = False  # the order below is meant
    return Groups(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups go first, and in each the heavy ones, so that all processes end at about the same time."""
    items.sort(key=lambda item: (group(item.nodeid) == item.nodeid, item.get_closest_marker("heavy") is None))
