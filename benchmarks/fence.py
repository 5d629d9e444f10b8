"""What the fence costs honest stations: the table in docs/trust.md.

    python benchmarks/fence.py [--draws N]

Of each law so many draws of held-out scores, with a threshold for 5 %: how many new parts of the
same law lie beyond the fence and above the threshold, by the law itself.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from scipy.stats import norm

from benchmarks._markdown import table
from common.evaluation import calibrate_threshold

TARGET = 0.05


def beyond(value: float, sigma: float) -> float:
    """Share of new scores above a value; `sigma` 0 is the normal law."""
    return float(norm.sf(value if sigma == 0 else np.log(max(value, 1e-9)) / sigma))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10_000)
    options = parser.parse_args()
    rng, rows = np.random.default_rng(1), []
    for name, sigma in (("normal", 0.0), ("lognormal, 0.25", 0.25), ("lognormal, 0.5", 0.5)):
        for count in (8, 20, 60, 200):
            found = []
            for _ in range(options.draws):
                z = rng.standard_normal(count)
                scores = z if sigma == 0 else np.exp(sigma * z)
                fenced = calibrate_threshold(scores, TARGET, fenced=True)
                plain = calibrate_threshold(scores, TARGET)
                assert fenced is not None
                assert plain is not None
                found.append(
                    (
                        0.0 if fenced.fence is None else beyond(fenced.fence, sigma),
                        fenced.promised_false_alarm_rate,
                        beyond(fenced.value, sigma),
                        beyond(plain.value, sigma),
                    )
                )
            means = np.mean(found, axis=0)
            rows.append((name, count, *(f"{100 * one:.1f} %" for one in means)))
    heads = ["scores", "held out", "beyond the fence lie", "promised", "alarms in all"]
    print(table([*heads, "without a fence"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
