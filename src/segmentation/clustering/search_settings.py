"""The constants of the search, and what each was measured on.

Those of few rows were chosen on the seven known sets of ``benchmarks/quality_wcss.py``, those of
many rows on the nine sets of 1e6 x 8 of ``benchmarks/large_data.py``; ``benchmarks/results.md`` has
what came out on other seeds. A field that names no other measurement was chosen with them and not
measured alone. Sizes of blocks, which travel to Spark's executors, stay in `assignment`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MAX_STEPS = 500


@dataclass(frozen=True)
class LocalSearchSettings:
    """Lloyd steps and moves of single rows, many starts together."""

    max_steps: int = MAX_STEPS
    """Steps of a start at most; a guard, seldom reached."""
    min_gain: float = 1e-12
    """Share of the WCSS that a move must win: less may be rounding, and two rows could swap places
    for ever. Not measured; above the rounding of double precision."""
    hopeless: float = 0.02
    """A start that settles this far (relative) above the best known gets no moves of single rows:
    they are most of the work and seldom win more than a percent."""
    last: float = 0.2
    """The last of a batch, this share, are left where they are while all of them lie above the best
    known: a step costs much the same for one start as for ten. Chosen beside `Effort.settled`;
    both and what the way down knows: 13 instead of 12 misses of 2,940 WCSS of the known sets and 75
    instead of 64 of 2,640 of mixtures, for 29 % less CPU."""
    same: float = 1e-9
    """Two WCSS this close (relative) are those of one solution but for rounding."""
    batch_entries: int = 200_000
    """Entries of one array of distances: larger batches fall out of the processor's cache."""


@dataclass(frozen=True)
class Effort:
    """How hard to search at each k.

    Attributes
    ----------
    starts : int
        Independent k-means++ starts; they are also what the spread of the starts is read from.
    grown : int
        Starts made of solutions of k - 1 and one centre more.
    rounds : int
        Generations at most.
    agreed : float
        A generation of which this share came to the best known solution is the last: that one is
        found from most parts of the pool, and would be found once more. 0.5 % instead of 0.4 % of
        1,960 WCSS of the known sets were missed, for a third less CPU.
    confirmed : float
        The search also ends once this many offspring of other parents have come to it, over all
        generations since it was found: where there are many solutions, no single generation agrees.
        22 instead of 17 misses of 5,880 on the known sets, 142 instead of 148 of 3,960 on mixtures,
        for 10 % of the CPU.
    settled : float
        Where this share of the independent starts came to it there is no generation at all; see
        `LocalSearchSettings.last`.
    hartigan : bool
        Whether starts go on from their Lloyd optimum by moves of single rows.
    steps : int
        Steps of a start at most.
    """

    starts: int
    grown: int
    rounds: int
    agreed: float = 0.25
    confirmed: float = 4
    settled: float = 0.3
    hartigan: bool = True
    steps: int = MAX_STEPS


EFFORTS = {
    "fast": Effort(starts=10, grown=6, rounds=1),
    "default": Effort(starts=10, grown=10, rounds=6),
    "thorough": Effort(starts=20, grown=10, rounds=20, agreed=0.4, confirmed=math.inf, settled=1.0),
}
"""`engine.effort`. With 20 seeds of the known sets ``fast`` hit 96.1 % and ``thorough`` 100 %."""


@dataclass(frozen=True)
class GenerationSettings:
    """The genetic search of one k."""

    pool: int = 12
    """Distinct solutions kept; a larger pool let a search end when a quarter of its offspring agree
    with as many hits, for a sixth less work."""
    brood: int = 24
    """Offspring of a generation."""


@dataclass(frozen=True)
class ExactPathSettings:
    """Which rows take the exact path, and how solutions of a sample are polished on all rows."""

    sampled_rows: int = 50_000
    """Above this number of distinct rows the large-data path is faster than the exact path, and its
    solutions are as good."""
    merged_share: float = 0.6
    """On the large-data path equal rows are merged when at most this share of the rows is left: the
    copy and the weights cost a good third of a pass."""
    smallest: float = 1e-15
    largest: float = 1e15
    """Magnitudes outside take the exact path: their squares leave the range of single precision."""
    hartigan_rows: int = 20_000
    """Up to here polishing includes moves of single rows; beyond, one row moves a mean by next to
    nothing."""
    polished: int = 3
    """How many of the sample's best solutions are polished with moves of single rows."""
    heat: int = 5
    """Lloyd steps of all of the sample's best solutions beyond `hartigan_rows`, after which the
    leader alone goes on: a sample ranks close rivals by its own luck."""
    label_rows: int = 65_536
    """Rows whose distances are held at a time where rows are labelled."""


@dataclass(frozen=True)
class PassSettings:
    """Lloyd's algorithm by passes over all rows."""

    stride: float = 3.0
    """Every other step goes this many times as far as the means. WCSS falls for any factor below 2
    and for the pair of steps in practice; on 1e5 heavy-tailed rows it halved the passes that k = 9
    and 10 need (145 to 72 for k = 10). Anderson acceleration and momentum saved little or diverged;
    steps of Barzilai & Borwein's lengths saved 2 % of the passes of nine fits of 1e6 rows."""
    tolerance: float = 1e-6
    """Polishing ends when moving the centres once more would win less than this share of the WCSS.
    What is left then is several times as much where k converges slowly; a figure shows none of it.
    """
    most: int = 50
    """Passes at most."""
    full_tolerance: float = 1e-10
    full_most: int = 300
    """The same for ``engine.polish=full``."""


@dataclass(frozen=True)
class SampleSettings:
    """Rows of the samples that lie each within the next; grown where k is large."""

    search: int = 2_000
    """The search sees; on the exact path too."""
    screen: int = 10_000
    """Two passes over these tell starts worth a try."""
    climb: int = 40_000
    """Neighbours in k improve each other on these. On 1e6 x 3 samples of 100,000, and a third of
    all for the refining, changed little: 3.5 to 4.5 % of the WCSS were 200 ppm or more above."""
    refined: int = 8
    least_refined: int = 50_000
    """Rivals are refined on one row in `refined`, and on `least_refined` rows at least."""


@dataclass(frozen=True)
class LargeDataSettings:
    """The large-data path."""

    search: Effort = field(
        default_factory=lambda: Effort(starts=12, grown=6, rounds=0, hartigan=False, steps=40)
    )
    """The small sample only has to start the climb: moves of its single rows do not help, nor does
    the end of slow starts (after 12 steps, though, 1 of 10 seeds missed the best k = 8 of 120,000
    rows). More starts or generations changed nothing over 594 WCSS of 1e5 rows."""
    search_harder: Effort = field(
        default_factory=lambda: Effort(starts=20, grown=10, rounds=5, settled=1.0)
    )
    """Where one k is searched again."""
    screen_margin: float = 0.03
    """How far above the best of its k (relative) two passes over the screening's rows may leave a
    start that is tried on."""
    rounds: dict[str, int] = field(
        default_factory=lambda: {"fast": 2, "default": 6, "thorough": 12}, hash=False
    )
    """Rounds of the climb at most, by effort."""
    climb_gain: float = 1e-4
    """The climb ends when a round has not lowered any WCSS by this share."""
    tries: int = 5
    """Starts of each kind for one k in a round."""
    pool: int = 8
    """Distinct solutions of a k that are kept."""
    climb_margins: tuple[float, ...] = (math.inf, 0.03, 0.015, 0.005)
    refine_margins: tuple[float, ...] = (math.inf, 0.006, 0.004, 0.003)
    last_margins: tuple[float, ...] = (5e-4, 1e-4, 3e-5)
    """How far above the best of its k (relative) a start may be after 1, 2, 4, … passes to go on:
    in the climb, while refining, and on all rows."""
    sure: float = 3.0
    most_noise: float = 0.01
    rivals: int = 4
    rival_numbers: int = 32
    """A sample ranks close solutions by its luck: all go on that lie fewer standard errors than
    `sure` above its best, and not `most_noise` (relative), up to `rivals`; more of few features,
    whose passes are cheap: `rival_numbers` numbers in a row of each. Of two local optima of 1e6
    rows the worse by 4e-4 was seen better by 1.8e-3 on the climb's sample and by 1.2e-3 on an
    eighth of all. On 1e6 x 3 4 rivals within 1.5 errors left 9 of 198 WCSS 2e-4 or more above the
    best known, 8 within 3 left 3 of them."""
    same: float = 1e-3
    """Solutions whose centres differ by so little of the WCSS are the same, not quite settled."""
    stop_share: float = 0.05
    """A start above the best of its k stops iterating once a step wins less than this share of the
    gap between them: on a heavy-tailed set that took 44 % off the climb's work."""
    climb_tolerance: float = 1e-5
    refine_tolerance: float = 3e-7
    sample_passes: int = 100
    """Where passes over the samples end, and how many there are at most; see `PassSettings`."""
    rows_of_tolerance: int = 1_000_000
    """Rows from which on `PassSettings.tolerance` holds as it is: a pass over fewer costs less, so
    it is asked to gain less."""
    single_precision_spread: float = 1e4
    """Rows are compared in single precision unless the tightest clusters' WCSS is this many times
    below the whole spread. Not measured alone; single precision loses about 1e-7 of the spread."""


@dataclass(frozen=True)
class SparkSettings:
    """The engine for rows in Spark."""

    exact_rows: int = 1_000_000
    """Up to here blocks hold float64 and passes, which are short, go on to a tenth of the
    tolerance; beyond, a row is rounded by 6e-8 of its distance to the sample's mean, and the sums
    are as far off as one in a million."""
    searches: int = 3
    """Searches of a sample: a table that is not wholly in it has more optima than one finds."""
    seed_step: int = 1_000_003
    """Between the seeds of these searches, far from those a user tries in turn."""
    sample_noise: float = 5e-3
    """How far above the best of a sample (relative) a solution may be the best of all rows. Not
    measured alone."""
    noise: float = 5.0
    """Standard errors within which a centre of the sample is that of all rows. Not measured alone.
    """


LOCAL_SEARCH = LocalSearchSettings()
GENERATIONS = GenerationSettings()
EXACT_PATH = ExactPathSettings()
PASSES = PassSettings()
SAMPLES = SampleSettings()
LARGE_DATA = LargeDataSettings()
SPARK = SparkSettings()
