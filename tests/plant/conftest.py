"""The plant in containers that the files of this folder share, and one whole run of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from container_plant import SETTINGS, ContainerPlant, run_folder, without_docker
from requirements import missing


@pytest.fixture(scope="package")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerPlant]:
    reason = without_docker()
    if reason:
        missing("docker", reason)
    home = tmp_path_factory.mktemp("plant")
    running = ContainerPlant(f"fpctest-{uuid.uuid4().hex[:8]}", home, docker.from_env())
    try:
        started = time.monotonic()
        running.build(1200)
        built = time.monotonic()
        running.make("up", 600)
        print(f"\nbuild {built - started:.0f} s, make plant-up {time.monotonic() - built:.0f} s")
        yield running
    finally:
        running.remove()
        running.engine.close()


@pytest.fixture(scope="package")
def finished(plant: ContainerPlant) -> Path:
    """One whole run of the five stations."""
    started = time.monotonic()
    printed = plant.make("run", 900, f"SET={' '.join(SETTINGS)}")
    print(f"\nmake plant-run: {time.monotonic() - started:.0f} s")
    return run_folder(printed, plant)
