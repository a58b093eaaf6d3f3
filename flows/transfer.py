"""transfer: train on new faces from somebody's checkpoint."""

from __future__ import annotations

from prefect import flow

from flows.carry_out import carry_out
from flows.train import train_and_export


@flow(name="transfer", description="Train on new faces from a donor's checkpoint.", persist_result=False)
def transfer(manifest: str, donor: str, settings: list[str] | None = None) -> str:
    """Train as the manifest says, from a checkpoint, an imported model or a file; returns where the report lies."""
    return carry_out(train_and_export, manifest, [f"donor={donor}", *(settings or [])])
