from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_gives_its_flow_parameters_that_it_takes(deployment: dict[str, Any]) -> None:
    module, _, function = deployment["entrypoint"].rpartition(".")
    flow = getattr(importlib.import_module(module), function)
    assert set(deployment["parameters"]) <= set(flow.parameters.properties)
    assert (ROOT / deployment["parameters"]["manifest"]).is_file()
    assert all({"slug", "active", "timezone"} <= set(schedule) for schedule in deployment["schedules"])
