"""Every number that a verdict rests on, with its reason.

What was measured stands in docs/trust.md. `quarantine` needs what no honest images explain; a new
part, a new variant, a dirty lens or another camera is at most `watch`.
"""

from __future__ import annotations

from typing import Final

FEWEST_ROWS: Final = 20
"""Rows of a category from one station, below which their use says nothing."""
FEWEST_EXPECTED: Final = 30
"""Patches of others' held-out images that would use its rows by their share, likewise."""
UNUSED: Final = 0.1
"""Rows are used by a tenth of their share or less: honest IID stations had 0.83 to 1.26 of it, rows
of defects 0.07, garbage 0."""
UNUSED_BY_ITSELF: Final = 0.25
"""Its own held-out images use its rows by less than a quarter of their share. Of honest images they
use their own station's rows more than anybody else's: a new variant nearly those alone."""
APART: Final = 1.15
"""Median distance of its rows from everybody else's, in those of the others' rows from each
other's: 0.96 to 1.01 of IID stations, 1.58 of rows of defects, 25 of garbage."""
NEVER_USED: Final = 0.01
"""Two who lie together support each other's rows: what nobody uses at all need not be apart."""
GARBAGE_APART: Final = 3.0
"""Rows so far from all others may be used up to a quarter of their share, by its own parts as well:
who sends garbage for half of its rows has 0.2 and 24."""
FAR_APART: Final = 1.6
"""From here on rows are worth a look, whoever uses them; for a tenth of them `GARBAGE_APART` is."""

LITTLE_USED: Final = 0.5
"""With rows this little used it takes less distance to be worth a look: the lowest of honest plants
was 0.43, at 0.99 times the usual distance; defects among honest rows had 0.19, at 1.56 times."""
QUITE_APART: Final = 1.3
"""That distance. The largest median of honest plants was 1.23, of a station with five sixths of all
rows."""
TENTH_APART: Final = 1.6
"""The distance that a tenth of its rows has at least: 1.02 to 1.29 in honest plants, 1.9 where rows
of defects come in drop by drop, a round after another. With most of all rows it was up to 1.66 of
honest ones: there are too few others to be near. From there on `GARBAGE_APART` holds."""

HIDDEN: Final = 0.2
"""A defect's image score rises by so much without a station's rows: they lie near the defect.
Honest rows lie near good parts: without them defects of bottles rise by 0.1 % (median), 17 % at
most."""
HIDDEN_BEYOND: Final = 2.0
"""And by so many times what the others' good images rise (their 90 % quantile): where the bank
needs a station, everything lies farther without it."""
FEWEST_HIDDEN: Final = 3
"""Images of defects that must be hidden so: one or two may be odd."""
HIDDEN_SHARE: Final = 0.05
"""And the share of the others' defective images. One of them at least must be at another station
than the one that tells of most: nobody puts another under quarantine by his word alone."""
HIDDEN_A_FEW: Final = 2
"""Images from which on it is worth a look; 0 at all honest stations."""

IMPOSSIBLE: Final = 10.0
"""A held-out score of so many times the largest distance that two of the others' rows can have: no
lens does that."""

SURPRISE: Final = 0.005
"""The rank test of its held-out scores against the others'; of 4 against 8 none is below 0.004."""
NEARLY_ALL: Final = 0.9
"""Comparisons in which its score must be the higher (or the lower) one."""
HIGHER: Final = 1.25
"""Median of its held-out scores in the others' median, from which on it is worth a look."""
LOWER: Final = 0.67
"""Likewise: defects may pass unseen, or its scores are no scores."""
FEWEST_COMPARED: Final = 20
"""Of each other station so many scores are compared, or as many as the median one has: how many
anybody has must not decide whom the rest is compared with."""
FAR_HIGHER: Final = 2.0
"""Of its median in the others' largest score: worth a look with any number of images."""

CLAIMED: Final = 10.0
"""It says to have so many times the images that count; a station with most of a part may be cut to
half of it."""
COPIED: Final = 0.2
"""Share of the rows it sent that another station sent as well; no two patches of cameras are alike,
but drawn or saturated surfaces may give a few."""
NEEDLESS: Final = 0.05
"""It has less than so much of the rows that its share would be, though it sent them: the others
cover all that it knows."""

MOST_WORK: Final = 2e10
"""Multiplications that the support of all rows may take: about two seconds on one core."""
FEWEST_MEASURED: Final = 50
"""Rows of each station that are measured all the same."""
