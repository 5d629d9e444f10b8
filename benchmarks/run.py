"""All benchmarks one after another, each in a process of its own: `make bench`.

    python benchmarks/run.py [--quick] [--only NAME...] [--anomalib-python PYTHON]
        [--evaluator CHECKOUT/evaluate_experiment.py] [--evaluator-python PYTHON]

Each writes `benchmarks/results/<subject>.json`, and `RESULTS.md` is rendered from those; with
`--quick` (small sizes) both go to `outputs/bench`, so that no small figure replaces a full one.
A benchmark that is not done within its minutes is ended with all that it started, and named. What
was not compared for want of a peer is named, with the option that gives it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.render import PAGE, RESULTS, SUBJECTS, render

FOLDER = Path(__file__).resolve().parent
#: for each benchmark; the longest takes about a third of it where nothing else runs
MINUTES, QUICK_MINUTES = 10, 3
GRACE = 45  # seconds to end what it started
WITH_PEER = ("coreset", "search", "features")


def run(command: list[str], minutes: float) -> str | None:
    """Run one benchmark; None when it is done, else what went wrong."""
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        return f"not done within {minutes:g} minutes"
    finally:
        # After a timeout or Ctrl-C; and a peer of a benchmark that failed.
        end(process)
    return f"exit code {code}" if code else None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a benchmark and its children: asked first, so that they can end theirs."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> int:
    """Run every benchmark and return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute each")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--anomalib-python", help="interpreter of an environment with anomalib")
    parser.add_argument("--evaluator", help="the AutoVI evaluation code's evaluate_experiment.py")
    parser.add_argument("--evaluator-python", help="interpreter that has what it needs")
    options = parser.parse_args()
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = FOLDER.parent / "outputs" / "bench" if options.quick else RESULTS
    out.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in options.only:
        print(f"\n== {name} ==", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--out", str(out / f"{name}.json")]
        if options.quick:
            command.append("--quick")
        if options.anomalib_python and name in WITH_PEER:
            command += ["--anomalib-python", options.anomalib_python]
        if options.evaluator and name == "spro":
            command += ["--evaluator", options.evaluator]
            if options.evaluator_python:
                command += ["--python", options.evaluator_python]
        start = time.perf_counter()
        fault = run(command, QUICK_MINUTES if options.quick else MINUTES)
        seconds[name] = time.perf_counter() - start
        if fault is not None:
            print(f"{name}: {fault}", flush=True)
            failed[name] = fault
    page = out / PAGE.name if options.quick else PAGE
    page.write_text(render(out), encoding="utf-8")
    told = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    print(f"\nseconds: {told}; {sum(seconds.values()):.0f} in all\nwrote {page}")
    if not options.anomalib_python:
        print("not compared with anomalib and faiss: give --anomalib-python PYTHON")
    if not options.evaluator:
        print("not compared with the AutoVI evaluation code: give --evaluator SCRIPT")
    for name, fault in failed.items():
        print(f"failed: {name} ({fault}); its section shows earlier figures, if any")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
