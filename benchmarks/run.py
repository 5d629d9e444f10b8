"""All benchmarks one after another, each in a process of its own: `make bench`.

    python benchmarks/run.py [--quick] [--out DIR] [--anomalib-python PYTHON]

Writes one JSON file a benchmark and says which of them ran. A benchmark that needs something this
machine lacks (the official AutoVI evaluation, an environment with anomalib) is named, with the
command that runs it. Timings on shared machines are noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
MINUTES = 20


def main() -> int:
    """Run every benchmark and return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute each")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"))
    parser.add_argument("--anomalib-python", help="interpreter of an environment with anomalib")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in ("coreset", "search"):
        print(f"\n== {name} ==", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--out"]
        command.append(str(options.out / f"{name}.json"))
        if options.quick:
            command.append("--quick")
        if options.anomalib_python:
            command += ["--anomalib-python", options.anomalib_python]
        if subprocess.run(command, timeout=60 * MINUTES, check=False).returncode:
            failed.append(name)
    if not options.anomalib_python:
        print("\nnot run: anomalib as the peer; give --anomalib-python PYTHON")
    print("not run: spro, which needs the other evaluator; see `benchmarks/spro.py --help`")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
