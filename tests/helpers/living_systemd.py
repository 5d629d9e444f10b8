"""systemd as process 1 of namespaces of its own, over a throw-away copy of this machine's files.

No engine of containers is needed: an overlay over `/`, of which nothing lasts, a network with a
loopback alone, and a cgroup of its own. Only root may do that.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
#: What would touch the kernel of this machine, or is nobody's business here.
MASKED = [
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-remount-fs.service",
    "systemd-random-seed.service",
    "systemd-update-utmp.service",
    "systemd-binfmt.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-resolved.service",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "systemd-logind.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "docker.socket",
    "containerd.service",
    "avahi-daemon.socket",
    "avahi-daemon.service",
    "nginx.service",
]
BOOT = """
set -eu
R={root}
mount --make-rprivate /
mount --bind $R $R
mount -t proc proc $R/proc
mount -t sysfs -o ro sysfs $R/sys
mount -t tmpfs -o mode=755 tmpfs $R/sys/fs/cgroup
umount $R/sys/fs/cgroup
mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
for place in run dev; do mount -t tmpfs -o mode=755 tmpfs $R/$place; done
mount -t tmpfs -o mode=1777 tmpfs $R/tmp
mkdir $R/dev/pts $R/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts $R/dev/pts
mount -t tmpfs -o mode=1777 tmpfs $R/dev/shm
ln -s pts/ptmx $R/dev/ptmx
for node in null zero full random urandom tty; do
    touch $R/dev/$node; mount --bind /dev/$node $R/dev/$node
done
ln -s /proc/self/fd $R/dev/fd
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s /proc/self/fd/${{number%%:*}} $R/dev/${{number#*:}}
done
{binds}
ip link set lo up
cd $R
mkdir -p old_root_of_test
pivot_root . old_root_of_test
umount -l /old_root_of_test
mount --make-rshared /
ldconfig
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    {systemd} --system --unit=basic.target --log-target=journal --show-status=0
"""


def without_systemd() -> str | None:
    """Why systemd cannot be started here; None if it can."""
    if os.geteuid() != 0:
        return "only root may make namespaces and mounts"
    if not SYSTEMD.exists():
        return f"there is no {SYSTEMD}"
    for tool in ("unshare", "nsenter", "pivot_root", "ip"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}`"
    return None if _unified() else "no cgroup2 is mounted"


@dataclass
class LivingSystemd:
    """A running one.

    Attributes
    ----------
    root : Path
        Its file system, from outside.
    pid : int
        Of its process 1, outside.
    """

    root: Path
    pid: int

    def ask(self, *words: str, code: int | None = 0, seconds: float = 300) -> str:
        """Run a command inside, as its root; returns all that it printed."""
        done = subprocess.run(
            ["nsenter", "--all", f"--target={self.pid}", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env={"PATH": "/opt/fedpatchcore/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert code is None or done.returncode == code, (
            words,
            done.returncode,
            done.stdout[-3000:],
        )
        return done.stdout.strip()

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        told = self.ask("systemctl", "show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    def journal(self) -> str:
        return self.ask("journalctl", "--no-pager", "--lines=60", "--output=cat")


@contextlib.contextmanager
def living_systemd(folder: Path) -> Iterator[LivingSystemd]:
    """Start it with an environment where the units have it; all of it is gone afterwards."""
    group = _unified() / f"fedpatchcore-test-{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as stack:
        memory = folder / "memory"
        memory.mkdir()
        _mount(stack, memory, "-t", "tmpfs", "-o", "size=2g", "tmpfs")
        for name in ("upper", "work", "root"):
            (memory / name).mkdir()
        root = memory / "root"
        layers = f"lowerdir=/,upperdir={memory / 'upper'},workdir={memory / 'work'}"
        _mount(stack, root, "-t", "overlay", "-o", layers, "overlay")
        binds = _furnish(root)
        group.mkdir()
        stack.callback(_remove_group, group)
        boot = BOOT.format(root=root, systemd=SYSTEMD, binds="\n".join(binds))
        # The group first: what is started belongs to it, and it is the root of the new namespace.
        script = f"echo $$ > {group}/cgroup.procs\nexec unshare --mount --pid --uts --ipc --net "
        script += '--cgroup --fork --kill-child sh -c "$BOOT"'
        process = subprocess.Popen(["sh", "-c", script], env={**os.environ, "BOOT": boot})
        stack.callback(_kill, process, group)
        running = LivingSystemd(root, _first_child(process))
        _wait_until_up(running, process)
        yield running


def _furnish(root: Path) -> list[str]:
    """Put an environment into it; returns the lines that bind this one's packages and Python."""
    system = root / "etc" / "systemd" / "system"
    for place in system.glob("*.wants"):
        shutil.rmtree(place)
    for unit in MASKED:
        (system / unit).unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    places = {"/opt/python": Path(sys.base_prefix), "/opt/fedpatchcore/checkout": ROOT}
    packages = [Path(path) for path in sys.path if path.endswith("-packages")]
    places |= {f"/opt/packages/{number}": path for number, path in enumerate(packages)}
    environment = root / "opt" / "fedpatchcore" / ".venv"
    (environment / "bin").mkdir(parents=True)
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (environment / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    (environment / "bin" / "python").symlink_to(f"/opt/python/bin/{python}")
    own = environment / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    own.mkdir(parents=True)
    (own / "shared.pth").write_text("\n".join(sorted(places.keys() - {"/opt/python"})))
    names = {"fedpatchcore": ("fedpatchcore.command", "main")}
    from importlib.metadata import distribution

    for script in distribution("flwr").entry_points.select(group="console_scripts"):
        names[script.name] = (script.module, script.attr)
    for name, (module, function) in names.items():
        path = environment / "bin" / name
        head = "#!/opt/fedpatchcore/.venv/bin/python"
        path.write_text(f"{head}\nfrom {module} import {function}\n{function}()\n")
        path.chmod(0o755)
    # Where this Python lies, a unit sees nothing if that is somebody's home; nor its own library.
    (root / "etc" / "ld.so.conf.d" / "00-python.conf").write_text("/opt/python/lib\n")
    for target in places:
        (root / target[1:]).mkdir(parents=True, exist_ok=True)
    return [f"mount --bind {source} $R{target}" for target, source in places.items()]


def _unified() -> Path | None:  # type: ignore[return]
    for line in Path("/proc/mounts").read_text().splitlines():
        if found := re.match(r"\S+ (\S+) cgroup2 ", line):
            return Path(found[1])


def _mount(stack: contextlib.ExitStack, place: Path, *words: str) -> None:
    subprocess.run(["mount", *words, str(place)], check=True, capture_output=True)
    stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=False)


def _first_child(process: subprocess.Popen[bytes]) -> int:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 30
    while not (found := path.read_text().split()):
        assert process.poll() is None, "unshare ended"
        assert time.monotonic() < until
        time.sleep(0.1)
    return int(found[0])


def _wait_until_up(running: LivingSystemd, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while True:
        assert process.poll() is None, "systemd ended while it started"
        if Path(f"/proc/{running.pid}/comm").read_text().strip() == "systemd":
            told = running.ask("systemctl", "is-system-running", code=None)
            if told in ("running", "degraded"):
                return
        assert time.monotonic() < until, "systemd did not come up"
        time.sleep(0.5)


def _kill(process: subprocess.Popen[bytes], group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        if int(pid) != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    process.kill()
    process.wait()


def _remove_group(group: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            for inner in sorted(group.glob("**/"), reverse=True):
                inner.rmdir()
            return
        time.sleep(0.2)
