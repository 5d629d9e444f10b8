"""The units of deploy/systemd under a systemd that lives: a run, a kill, a stop."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest
from living_systemd import ROOT, LivingSystemd, living_systemd, without_systemd
from requirements import missing

pytestmark = [pytest.mark.plant]
SERVER = ("superlink", "executor", "gateway")
UNITS = (
    *(f"fedpatchcore-{role}" for role in SERVER),
    *("fedpatchcore-station@clips", "fedpatchcore-line@clips"),
)
README = (ROOT / "deploy" / "README.md").read_text()
ADMIN = ("--keys", "/srv/plant/keys/server", "--superlink", "127.0.0.1:8000")
RUNS = "/var/lib/fedpatchcore-executor/runs"
#: As deploy/README.md has it for a server and a station on one machine.
INSTALL = """
set -eu
mkdir -p /srv/plant && cd /srv/plant
fedpatchcore keys keys --station clips
fedpatchcore synth images --images 4 --size 32
chmod -R a+rX /srv/plant/images
units=/opt/fedpatchcore/checkout/deploy/systemd
systemd-sysusers $units/sysusers.conf
cp $units/*.service /etc/systemd/system/
give() {  # whom, where, what
    install -d -m 700 -o $1 -g $1 $2
    for file in $3; do if test -f $file; then install -m 600 -o $1 $file $2/; fi; done
}
give fedpatchcore-superlink /etc/fedpatchcore/superlink \\
    "$(echo keys/server/ca.crt keys/server/superlink.* keys/server/executor.secret)"
give fedpatchcore-executor /etc/fedpatchcore/executor \\
    "$(echo keys/server/ca.crt keys/server/executor.secret keys/server/app.*)"
give fedpatchcore-gateway /etc/fedpatchcore/gateway "$(echo keys/gateway/*)"
for role in executor gateway; do
    install -d -m 755 /etc/fedpatchcore/$role/stations
    install -m 644 keys/server/stations/*.pub /etc/fedpatchcore/$role/stations/
done
printf '%s\\n' 'station = "clips"' 'data-root = "/srv/plant/images"' \\
    'cache-dir = "/var/cache/fedpatchcore/clips"' 'weights = "random"' \\
    'models-dir = "/var/lib/fedpatchcore-models/clips"' '[server]' \\
    'address = "127.0.0.1:9443"' 'ca = "ca.crt"' 'key = "station.key"' \\
    'certificate = "station.pem"' 'app-key = "app.pub"' > station.toml
give fedpatchcore-station /etc/fedpatchcore/stations/clips \\
    "$(echo station.toml keys/stations/clips/*)"
systemctl daemon-reload
systemctl enable --now fedpatchcore-superlink fedpatchcore-executor fedpatchcore-gateway
systemctl enable --now fedpatchcore-station@clips
"""
#: In front of lines of the README, which are typed by somebody who is no root.
SUDO = """
set -eu
sudo() {
    if [ "$1" = -u ]; then user=$2; shift 2; runuser -u "$user" -- "$@"; else "$@"; fi
}
"""
#: What that reader has in the folder where the lines are typed.
AT_HAND = """
cd /srv/plant
fedpatchcore keys keys --service clips --host clips.plant
echo 127.0.0.1 clips.plant >> /etc/hosts
mkdir line
ln -s /opt/fedpatchcore/checkout/deploy line/deploy
cp keys/stations/clips/{station.key,ca.crt} keys/services/clips/line.* station.toml line/
cp $(ls images/pipe_clip/test/good/*.png | head -1) line/4711.png
cd line
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingSystemd]:
    reason = without_systemd()
    if reason:
        missing("systemd", reason)
    with living_systemd(tmp_path_factory.mktemp("machine")) as running:
        running.ask("sh", "-c", INSTALL)
        # Its disk is a part of this machine's memory.
        line = of_readme("[line]", "toml").replace("keep-gb = 20", "keep-gb = 0.01")
        section = f"cat >> station.toml <<'end'\n{line}end\n"
        lines = of_readme("enable --now fedpatchcore-line@clips")
        told = running.ask("bash", "-c", SUDO + AT_HAND + section + lines)
        (token,) = re.findall(r"^[\w-]{43}$", told, re.MULTILINE)
        (running.root / "srv/plant/token").write_text(token)
        yield running


def of_readme(words: str, kind: str = "sh") -> str:
    """The one block of deploy/README.md with these words, of the station clips."""
    text = README.replace("clip-inspection", "clips")
    (found,) = [one for one in re.findall(rf"```{kind}\n(.*?)```", text, re.S) if words in one]
    return found


def wait_until(
    machine: LivingSystemd, what: str, done: Callable[[], object], seconds: float = 300
) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, f"{what} did not come true\n{machine.journal()}"
        time.sleep(1)


def served(machine: LivingSystemd) -> bool:
    """Whether the station has been served within the last minute."""
    found = machine.ask(
        *("find", "/var/cache/fedpatchcore/clips", "-maxdepth", "1", "-name", "alive"),
        *("-mmin", "-1"),
    )
    return bool(found)


def test_a_run_from_end_to_end(machine: LivingSystemd) -> None:
    # The SuperLink needs its time; registering again harms nobody.
    registered = ("fedpatchcore", "plant", "register", *ADMIN)
    wait_until(
        machine,
        "the SuperLink",
        lambda: "clips: " in machine.ask(*registered, code=None) and True,
    )
    wait_until(machine, "clips to be served", lambda: served(machine))
    small = ("backbone=resnet18", "weights=random", "global-bank-size=100", "num-workers=1")
    told = machine.ask(
        *("fedpatchcore", "plant", "run", *ADMIN, "--runs", RUNS),
        *(f"--set={one}" for one in (*small, "local-coreset-ratio=0.5", "device=cpu")),
        seconds=900,
    )
    assert "used 1 of 1" in told
    run = json.loads(machine.ask("sh", "-c", f"cat {RUNS}/*/run.json"))
    assert run["status"] == "completed"
    assert [station["status"] for station in run["stations"]] == ["used"]


def test_the_line_judges_by_the_model_that_was_delivered(machine: LivingSystemd) -> None:
    """It was started before there was one, and came up by itself."""
    health = ("curl", "--cacert", "/srv/plant/keys/ca.crt", "https://clips.plant:8600/health")
    wait_until(machine, "the line", lambda: '"ok"' in machine.ask(*health, code=None))
    token = machine.ask("cat", "/srv/plant/token")
    lines = of_readme("https://clips.plant:8600/api").replace("TOKEN=...", f"TOKEN={token}")
    told = machine.ask("bash", "-c", f"{SUDO}cd /srv/plant/line\n{lines}")
    assert "clips: 0 errors, 0 warnings, 0 notes; ready" in told
    assert "the service is there" in told
    assert "Whole: " in told
    answer, _ = json.JSONDecoder().raw_decode(told, told.index('{"id"'))
    assert answer["part"] == "4711"
    run = json.loads(machine.ask("sh", "-c", f"cat {RUNS}/*/run.json"))
    (delivery,) = [station["delivery"] for station in run["stations"]]
    assert delivery["state"] == "active"
    run_id = machine.ask("ls", RUNS)
    assert answer["model"]["run_id"] == run_id
    folder = f"/var/lib/fedpatchcore-models/clips/{run_id}"
    of_file = machine.ask("sha256sum", f"{folder}/model.json").split()[0]
    assert answer["model"]["sha256"] == of_file
    as_line = ("runuser", "-u", "fedpatchcore-line", "--")
    machine.ask(*as_line, "cat", f"{folder}/model.json")
    for place in (
        *("/var/cache/fedpatchcore/clips", "/etc/fedpatchcore/stations/clips"),
        *("/etc/fedpatchcore/gateway", RUNS),
    ):
        assert "denied" in machine.ask(*as_line, "ls", place, code=2)
    assert "denied" in machine.ask(*as_line, "touch", f"{folder}/x", code=1)


def test_each_is_a_user_of_its_own_and_locked_in(machine: LivingSystemd) -> None:
    for unit in UNITS:
        pid = machine.show(unit, "MainPID")["MainPID"]
        status = machine.ask("cat", f"/proc/{pid}/status")
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert "CapEff:\t0000000000000000" in status
        user = machine.ask("stat", "--format=%U", f"/proc/{pid}")
        assert user == unit.partition("@")[0]
        # What the unit asks for, or all that this machine's systemd may give.
        limits = machine.ask("cat", f"/proc/{pid}/limits").splitlines()
        (files,) = [line.split() for line in limits if line.startswith("Max open files")]
        assert int(files[3]) >= min(65536, int(machine.ask("sh", "-c", "ulimit -Hn")))


def test_killed_it_comes_back_and_so_does_the_station(machine: LivingSystemd) -> None:
    before = {unit: machine.show(unit, "MainPID", "NRestarts") for unit in UNITS}
    machine.ask("rm", "/var/cache/fedpatchcore/clips/alive")
    for unit in UNITS:
        machine.ask("kill", "-KILL", before[unit]["MainPID"])

    def back() -> bool:
        now = {unit: machine.show(unit, "MainPID", "NRestarts", "SubState") for unit in UNITS}
        return all(
            now[unit]["SubState"] == "running"
            and now[unit]["MainPID"] != before[unit]["MainPID"]
            and int(now[unit]["NRestarts"]) > int(before[unit]["NRestarts"])
            for unit in UNITS
        )

    wait_until(machine, "all to be started again", back, 120)
    wait_until(machine, "clips to be served again", lambda: served(machine))


def test_told_to_stop_it_ends_in_time_and_leaves_nothing(machine: LivingSystemd) -> None:
    for unit in reversed(UNITS):
        begin = time.monotonic()
        machine.ask("systemctl", "stop", unit)
        found = machine.show(unit, "ActiveState", "Result")
        assert found["Result"] == "success", machine.journal()
        assert time.monotonic() - begin < 20  # TimeoutStopSec
    left = machine.ask("sh", "-c", "ps -eo user:32,args | grep '^fedpatchcore-' || true")
    assert left == ""
    assert ROOT.is_dir()
