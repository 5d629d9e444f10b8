"""All benchmarks one after another, each in a process of its own: `make bench`.

    python benchmarks/run.py [--quick] [--only NAME...] [--anomalib-python PYTHON]

Each writes `benchmarks/results/<subject>.json`, and `RESULTS.md` is rendered from those; with
`--quick` (small sizes) both go to `outputs/bench`, so that no small figure replaces a full one.
A benchmark that needs what this machine lacks is named, with the command that runs it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.render import PAGE, RESULTS, SUBJECTS, render

FOLDER = Path(__file__).resolve().parent
MINUTES = 20
WITH_PEER = ("coreset", "search", "features")


def main() -> int:
    """Run every benchmark and return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute each")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--anomalib-python", help="interpreter of an environment with anomalib")
    options = parser.parse_args()
    out = FOLDER.parent / "outputs" / "bench" if options.quick else RESULTS
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.only:
        print(f"\n== {name} ==", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--out", str(out / f"{name}.json")]
        if options.quick:
            command.append("--quick")
        if options.anomalib_python and name in WITH_PEER:
            command += ["--anomalib-python", options.anomalib_python]
        try:
            done = subprocess.run(command, timeout=60 * MINUTES, check=False)
        except subprocess.TimeoutExpired:
            print(f"{name}: not done within {MINUTES} minutes")
            failed.append(name)
        else:
            if done.returncode:
                failed.append(name)
    page = out / PAGE.name if options.quick else PAGE
    page.write_text(render(out), encoding="utf-8")
    print(f"\nwrote {page}")
    if not options.anomalib_python:
        print("not run: anomalib as the peer; give --anomalib-python PYTHON")
    print("not run: spro, which needs the other evaluator; see `benchmarks/spro.py --help`")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
