"""What the administrator of a plant does: let stations in, submit runs, see how things stand."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.config import Settings
from common.errors import InputError, RunError
from common.plant.keys.station_keys import fingerprint, read_public_key
from common.plant.server.control import REMOVED, Control, RegisteredNode, connected
from common.runs.flower_run import Flwr, Listener, longest_run
from common.runs.processes import flower_environment
from common.system.files import temporary_folder

CONNECTION: Final = "plant"
AWAY_SECONDS: Final = 300.0
"""How long a SuperLink may be away before following a run is given up; the run is not."""
_AGAIN_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Plant:
    """Where a plant's SuperLink is and whom it trusts.

    Attributes
    ----------
    keys : Path
        Folder `server` that `fedpatchcore keys` made; of it `ca.crt` and `stations/` are read.
    address : str
        HOST:PORT of the SuperLink.
    """

    keys: Path
    address: str

    def __post_init__(self) -> None:
        if not self.authority.is_file():
            raise InputError(
                f"{self.authority}: no such file; --keys takes the folder `server` that "
                "`fedpatchcore keys` made"
            )

    @property
    def authority(self) -> Path:
        """Certificate by which the SuperLink is known."""
        return self.keys / "ca.crt"

    def members(self) -> dict[str, Path]:
        """Public keys of the stations that belong to the plant, by name."""
        return {path.stem: path for path in sorted((self.keys / "stations").glob("*.pub"))}

    @contextlib.contextmanager
    def control(self) -> Iterator[Control]:
        """Speak to the SuperLink; directly, whatever proxy this machine has for the world."""
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
        with connected(self.address, self.authority) as control:
            yield control

    @contextlib.contextmanager
    def flwr(self) -> Iterator[Flwr]:
        """Flower's own command with a configuration for this plant alone."""
        with temporary_folder("fpc-") as folder:
            environment = {**flower_environment(folder), "no_proxy": "*", "NO_PROXY": "*"}
            flwr = Flwr(folder, environment, CONNECTION)
            flwr.write_connection(self.address, self.authority.absolute())
            yield flwr


def require_members(plant: Plant, names: Sequence[str]) -> None:
    """Refuse names that no station of the plant has.

    Raises
    ------
    InputError
        Naming them, and the stations that there are.
    """
    members = plant.members()
    if unknown := sorted(set(names) - set(members)):
        raise InputError(
            f"--without {', '.join(unknown)}: no such station in {plant.keys / 'stations'}; known "
            f"ones are: {', '.join(members)}"
        )
    if names and set(names) >= set(members):
        raise InputError(f"--without: all stations are left out: {', '.join(members)}")


def register(plant: Plant, remove: Sequence[str] = ()) -> dict[str, str]:
    """Register every station that has a key, and remove those that shall be in no more.

    Parameters
    ----------
    plant : Plant
    remove : sequence of str
        Names.

    Returns
    -------
    dict of str to str
        What was done, by station: `registered`, `known already` or `removed`.

    Raises
    ------
    InputError
        If there is nothing to register, a name to be removed is not known, or still has a key in
        the folder.
    RunError
        If a key is registered under another name.
    """
    members = plant.members()
    if not members and not remove:
        raise InputError(
            f"{plant.keys / 'stations'}: holds no <name>.pub file; `fedpatchcore keys` makes them"
        )
    for name in sorted(set(remove) & set(members)):
        raise InputError(
            f"--remove {name}: its key is still in {members[name]}; delete that file first, or the "
            "next `plant register` lets the station in again"
        )
    with plant.control() as control:
        known = control.nodes()
        done = {name: _admit(control, known, name, path) for name, path in members.items()}
        nodes = [node for node in known if node.status != REMOVED]
        for name in remove:
            own = [node for node in nodes if node.name == name]
            if not own:
                names = ", ".join(node.name for node in nodes) or "none"
                raise InputError(f"--remove {name}: no station of this name; registered: {names}")
            for node in own:
                control.unregister(node.node_id)
            done[name] = "removed"
    return done


def _admit(control: Control, nodes: Sequence[RegisteredNode], name: str, path: Path) -> str:
    key = fingerprint(read_public_key(path))
    for node in nodes:
        if node.key == key and node.status == REMOVED:
            raise RunError(
                f"{path}: this key was removed before, and Flower takes no key twice; delete it "
                "at the station and here, and make a new one: `fedpatchcore keys DIR --station "
                f"{name}`"
            )
        if node.key == key and node.name == name:
            return "known already"
        if node.key == key:
            raise RunError(
                f"{path}: this key is registered as {node.name!r}; a station has one name: rename "
                "the file, or remove the old name with --remove and register again"
            )
    if any(node.name == name and node.status != REMOVED for node in nodes):
        raise RunError(
            f"{path}: {name} is registered with another key; if the station has a new one, remove "
            f"the old: delete the file for a moment, `plant register --remove {name}`, put it back"
        )
    control.register(name, path)
    return "registered"


def stations(plant: Plant) -> list[RegisteredNode]:
    """List the stations that the SuperLink lets in.

    Raises
    ------
    RunError
    """
    with plant.control() as control:
        return [node for node in control.nodes() if node.status != REMOVED]


def runs(plant: Plant, run_id: str | None = None) -> list[dict[str, Any]]:
    """List runs as `flwr list` tells of them, the newest first; or one of them.

    Raises
    ------
    RunError
    """
    with plant.flwr() as flwr:
        options = [f"--run-id={run_id}"] if run_id else []
        found: list[dict[str, Any]] = flwr.ask("list", *options)["runs"]
        return found


def run(
    plant: Plant,
    settings: Settings,
    on_submitted: Callable[[str], None],
    on_step: Listener | None = None,
) -> str:
    """Submit a run, follow it and wait for its end.

    Parameters
    ----------
    plant : Plant
    settings : Settings
        Its `data-root` and `output-dir` mean nothing on a plant.
    on_submitted : callable (run id)
        Called as soon as the SuperLink has taken it; from then on the run goes on whatever
        becomes of this process.
    on_step : callable (line), optional

    Returns
    -------
    str
        The run id.

    Raises
    ------
    RunError
        If it was not taken, failed, or outlasted its own deadlines; with the server's reason.
    """
    until = time.monotonic() + longest_run(settings)
    with plant.control() as control:
        control.nodes()  # says in one sentence what is wrong with the connection, if anything is
    with plant.flwr() as flwr:
        run_id = flwr.submit(settings)
        on_submitted(run_id)
        status, told = _follow_to_end(flwr, run_id, until, on_step or (lambda line: None))
    if not status.startswith("finished:completed"):
        why = told if told not in ("", "N/A") else "its run.json says why"
        raise RunError(f"run {run_id} ended as {status}: {why}")
    return run_id


def _follow_to_end(flwr: Flwr, run_id: str, until: float, on_step: Listener) -> tuple[str, str]:
    """Follow a run, over restarts of its SuperLink, too; return how it ended, and why."""
    shown = 0
    while True:
        told = 0

        def on_line(line: str) -> None:
            # A stream that is opened anew begins at the beginning.
            nonlocal told, shown
            told += 1
            if told > shown:
                shown = told
                on_step(line)

        failure = flwr.follow(run_id, until, on_line)
        state = _state(flwr, run_id)
        status = str(state["status"])
        if status.startswith("finished"):
            return status, failure or str(state.get("status-details") or "")
        if time.monotonic() > until:
            return f"{status} after its deadline", failure
        time.sleep(_AGAIN_SECONDS)


def _state(flwr: Flwr, run_id: str) -> dict[str, Any]:
    """Ask what became of a run; the SuperLink may be away for a while."""
    patience = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            found: dict[str, Any] = flwr.ask("list", f"--run-id={run_id}")["runs"][0]
            return found
        except RunError:
            if time.monotonic() > patience:
                raise
            time.sleep(_AGAIN_SECONDS)
