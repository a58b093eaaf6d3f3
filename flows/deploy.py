"""Everything a Prefect server needs to know of us, as often as you like: `python -m flows.deploy`, in the checkout.

The work pool, the automations of flows/automations.yaml and the deployments of prefect.yaml.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker
from ruamel.yaml import YAML

from flows.worker import POOL

AUTOMATIONS = Path(__file__).with_name("automations.yaml")


def deploy() -> int:
    """Makes what is missing and brings the rest up to date; the exit code of `prefect deploy --all`."""
    with get_client(sync_client=True) as client:
        make_work_pool(client)
        write_automations(client, AUTOMATIONS)
    return subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], check=False).returncode


def make_work_pool(client: SyncPrefectClient, num_gpus: int = 1) -> None:
    """A pool of process workers in which as many flow runs go at once as there are GPUs; an existing one is kept."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", base_job_template=template, concurrency_limit=num_gpus)
        )


def write_automations(client: SyncPrefectClient, path: Path) -> None:
    """The automations of a file, in the stead of those of the same name (`prefect automation create` doubles them)."""
    for asked in YAML(typ="safe").load(path)["automations"]:
        automation = AutomationCore.model_validate(asked)
        for old in client.read_automations_by_name(automation.name):
            client.delete_automation(old.id)
        client.create_automation(automation)


if __name__ == "__main__":
    sys.exit(deploy())
