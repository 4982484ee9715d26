"""The constants of the search, and what each was measured on.

The constants for few rows were chosen on the seven known sets of ``benchmarks/quality_wcss.py``,
those for many rows on the nine sets of 1e6 x 8 of ``benchmarks/large_data.py``;
``benchmarks/results.md`` has the results for other seeds. A field that names no other measurement
was chosen with them and not measured separately. Block sizes are in `assignment`, because they are
sent to Spark's executors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

MAX_STEPS = 500


@dataclass(frozen=True)
class LocalSearchSettings:
    """Lloyd steps and moves of single rows, many starts together."""

    max_steps: int = MAX_STEPS
    """Maximum number of steps of a start; a safeguard that is rarely reached."""
    min_gain: float = 1e-12
    """Share of the WCSS that a move must gain. A smaller gain may be rounding, and two rows could
    swap places for ever. Not measured; above the rounding of double precision."""
    hopeless: float = 0.02
    """A start that settles this far (relative) above the best known solution gets no moves of
    single rows: they are most of the work and rarely gain more than one percent."""
    last: float = 0.2
    """When only this share of a batch is left and all of it is above the best known solution, it
    stops: a step costs about the same for one start as for ten. Chosen together with
    `Effort.settled`. Both, together with the solutions known on the way down, gave 13 instead of 12
    misses among 2,940 WCSS of the known sets and 75 instead of 64 among 2,640 of mixtures, for 29 %
    less CPU."""
    same: float = 1e-9
    """Two WCSS this close (relative) differ only by rounding and belong to the same solution."""
    batch_entries: int = 200_000
    """Entries of one distance array; larger batches do not fit in the processor's cache."""


@dataclass(frozen=True)
class SingleStartsSettings:
    """Local search one start at a time.

    Measured on 18 to 24 starts each of five sets of 2,500 to 12,000 rows: uniform, normal, mixtures
    that overlap, mixtures of unequal sizes, heavy tails.
    """

    entries: int = 20_000
    """Above this number of distances of one start, starts go one at a time: a batch of them no
    longer fits in the processor's cache."""
    leg: int = 8
    leaps: int = 4
    leaps_of_many: int = 8
    """Lloyd steps of a leg and number of legs after which the centres leap, the latter for up to
    `GenerationSettings.usual_k` centres and for more. Four leaps lowered the mean WCSS of the
    starts by 700 to 5,000 ppm, for about as many steps, because the last ones are fewer. Legs of 4
    or 16 steps and leaps half as far again gained less. With k = 50 on 1,000 rows, eight leaps
    instead of four led to a WCSS lower by 300 to 2,400 ppm in as much time. Leaps on a sample of
    the rows found worse solutions."""
    reach: float = 0.5
    """A start continues only while the best is at most this many times the last leg's gain away, or
    within reach of moves of single rows. It saved up to a tenth of the time."""
    moves_reach: float = 100.0
    """The same for moves of single rows, per round of moves. It saved up to half of the time on
    normal rows and lost one of 35 improvements."""
    moves_gain: float = 4.0
    """Moves of single rows lower the WCSS by at most about this number divided by the rows of a
    cluster: 1e-2 to 2.5e-2 with 20 rows a cluster, 1e-4 to 5e-3 with 400, 1e-6 to 2e-5 with 2,500.
    A start that settles farther above the best gets none."""


@dataclass(frozen=True)
class Effort:
    """How hard to search at each k.

    Attributes
    ----------
    starts : int
        Number of independent k-means++ starts. They also show the spread of the starts.
    grown : int
        Number of starts made of a solution of k - 1 plus one centre.
    rounds : int
        Maximum number of generations.
    agreed : float
        The search ends when this share of a generation reaches the best known solution: it is then
        found from most parts of the pool and would be found again. This missed 0.5 % instead of
        0.4 % of 1,960 WCSS of the known sets, for a third less CPU.
    confirmed : float
        The search also ends when this many offspring of other parents have reached the best known
        solution, over all generations since it was found: if there are many solutions, no single
        generation agrees. 22 instead of 17 misses among 5,880 WCSS of the known sets, 142 instead
        of 148 among 3,960 of mixtures, for 10 % of the CPU.
    settled : float
        If this share of the independent starts reaches the best known solution, there are no
        generations at all; see `LocalSearchSettings.last`.
    hartigan : bool
        Whether starts continue from their Lloyd optimum by moving single rows.
    steps : int
        Maximum number of steps of a start.
    """

    starts: int
    grown: int
    rounds: int
    agreed: float = 0.25
    confirmed: float = 4
    settled: float = 0.3
    hartigan: bool = True
    steps: int = MAX_STEPS

    def at(self, k: int, m: int, *, alone: bool = False) -> Effort:
        """Return the effort for one k on m rows.

        Many centres can be placed in more ways, which matters most if the search of k - 1 gives no
        starts: k is ``alone``. Many rows make every start slower, and fewer rounds have to do.
        """
        more = max(1.0, k / GENERATIONS.usual_k) ** (1.5 if alone else 0.5)
        less = min(1.0, (GENERATIONS.usual_rows / m) ** 0.5)
        return replace(
            self,
            rounds=math.ceil(self.rounds * more * less),
            agreed=self.agreed * more,
            confirmed=self.confirmed * more,
        )


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
    """Number of distinct solutions kept. With a larger pool a search can end when a quarter of its
    offspring agree: as many hits, for a sixth less work."""
    pool_of_many: int = 24
    """The same for more than `usual_k` centres. With k = 50 on 1,000 rows a pool of 24 instead of
    12 led to a WCSS lower by 300 to 2,400 ppm in as much time."""
    brood: int = 24
    """Offspring per generation. With 12, and ten rounds instead of six, 80 instead of 92 % of 66
    WCSS of 2,500 to 8,000 rows were hit, for a sixth less CPU: 3 of 12 agree too easily."""
    usual_k: int = 16
    """Above this k a search is longer and more varied; see `Effort.at`."""
    usual_rows: int = 5_000
    """Above this number of rows, the number of rounds falls with its root. Half the rounds saved a
    third of the CPU of 20,000 uniform rows and cost at most 1.2 ppm."""
    ladder: int = 20
    """Up to this k all smaller k are searched too, because each provides starts for the next. A
    larger k is searched by itself, and with its neighbours if they are wanted: k = 50 of 1,000 rows
    takes 1 to 2 s of CPU instead of 24."""


@dataclass(frozen=True)
class ExactPathSettings:
    """Which rows take the exact path, and how solutions of a sample are polished on all rows."""

    sampled_rows: int = 20_000
    """Above this number of distinct rows the large-data path takes over. On six sets of 21,000 to
    49,000 rows, mixtures and uniform, its WCSS for k = 5, 6, 9 and 12 was at most 2e-8 above and up
    to 0.5 % below that of the exact path on a sample of 2,000, for as much CPU."""
    merged_share: float = 0.6
    """The large-data path merges equal rows if at most this share of the rows remains: the copy and
    the weights cost more than a third of a pass."""
    smallest: float = 1e-15
    largest: float = 1e15
    """Magnitudes outside this range take the exact path: their squares leave the range of single
    precision."""
    searched_rows: int = 20_000
    """Up to this number of distinct rows the search works on all of them; above it, on a sample of
    this size."""
    hartigan_rows: int = 20_000
    """Up to this number of rows, polishing includes moves of single rows; above it, a single row
    hardly moves a mean."""
    polished: int = 3
    """How many solutions are polished with moves of single rows."""
    heat: int = 5
    """Above `hartigan_rows`, Lloyd steps of each of the sample's best solutions before only the
    leader continues: a sample ranks close rivals by chance."""
    label_rows: int = 65_536
    """Rows whose distances are held at a time when rows are labelled."""


@dataclass(frozen=True)
class PassSettings:
    """Lloyd's algorithm by passes over all rows."""

    stride: float = 3.0
    """Every other step goes this many times as far as the means. WCSS falls for any factor below 2,
    and in practice for the pair of steps. On 1e5 heavy-tailed rows it halved the number of passes
    for k = 9 and 10 (from 145 to 72 for k = 10). Anderson acceleration and momentum saved little or
    diverged; Barzilai & Borwein step lengths saved 2 % of the passes of nine fits of 1e6 rows."""
    tolerance: float = 1e-6
    """Polishing ends when moving the centres once more would gain less than this share of the WCSS.
    If k converges slowly, the remaining excess is several times as large, but too small to be
    visible in a figure."""
    most: int = 50
    """Maximum number of passes."""
    full_tolerance: float = 1e-10
    full_most: int = 300
    """The same for ``engine.polish=full``."""


@dataclass(frozen=True)
class SampleSettings:
    """Rows of the nested samples; larger if k is large."""

    search: int = 2_000
    """Rows for the search."""
    screen: int = 10_000
    """Rows for the two passes that screen starts."""
    climb: int = 40_000
    """Rows on which neighbours in k improve each other. On 1e6 x 3, 100,000 rows, with a third of
    all rows for the refining, changed little: 3.5 to 4.5 % of the WCSS were 200 ppm or more above
    the best known."""
    refined: int = 8
    least_refined: int = 50_000
    """Rivals are refined on one row in `refined`, but on at least `least_refined` rows."""


@dataclass(frozen=True)
class LargeDataSettings:
    """The large-data path."""

    search: Effort = field(
        default_factory=lambda: Effort(starts=12, grown=6, rounds=0, hartigan=False, steps=40)
    )
    """The small sample only has to start the climb. Moves of its single rows do not help, and
    running slow starts to the end does not either (but with only 12 steps, 1 of 10 seeds missed the
    best k = 8 of 120,000 rows). More starts or generations changed nothing over 594 WCSS of 1e5
    rows."""
    search_harder: Effort = field(
        default_factory=lambda: Effort(starts=20, grown=10, rounds=5, settled=1.0)
    )
    """For searching a single k again."""
    screen_margin: float = 0.03
    """A start passes the screening if, after its two passes, it is at most this far (relative)
    above the best of its k."""
    rounds: dict[str, int] = field(
        default_factory=lambda: {"fast": 2, "default": 6, "thorough": 12}, hash=False
    )
    """Maximum number of rounds of the climb, by effort."""
    climb_gain: float = 1e-4
    """The climb ends when a round has not lowered any WCSS by this share."""
    tries: int = 5
    """Number of starts of each kind for one k in a round."""
    pool: int = 8
    """Number of distinct solutions kept for each k."""
    climb_margins: tuple[float, ...] = (math.inf, 0.03, 0.015, 0.005)
    refine_margins: tuple[float, ...] = (math.inf, 0.006, 0.004, 0.003)
    last_margins: tuple[float, ...] = (5e-4, 1e-4, 3e-5)
    """How far above the best of its k (relative) a start may be after 1, 2, 4, … passes to
    continue: in the climb, while refining, and on all rows."""
    sure: float = 3.0
    most_noise: float = 0.01
    rivals: int = 4
    rival_numbers: int = 32
    """A sample ranks close solutions by chance. Solutions continue if they are fewer than `sure`
    standard errors and less than `most_noise` (relative) above the sample's best. At most `rivals`
    continue, or `rival_numbers` divided by the number of features if that is more: passes over few
    features are cheap. Of two local optima of 1e6 rows, the one that was worse by 4e-4 looked
    better by 1.8e-3 on the climb's sample and by 1.2e-3 on an eighth of all rows. On 1e6 x 3, 4
    rivals within 1.5 errors left 9 of 198 WCSS 2e-4 or more above the best known; 8 rivals within 3
    errors left 3."""
    same: float = 1e-3
    """Solutions whose centres differ by less than this share of the WCSS are the same, not quite
    settled."""
    stop_share: float = 0.05
    """A start above the best of its k stops when a step gains less than this share of the gap
    between them. On a heavy-tailed set this saved 44 % of the climb's work."""
    climb_tolerance: float = 1e-5
    refine_tolerance: float = 3e-7
    sample_passes: int = 100
    """Tolerances and maximum number of the passes over the samples; see `PassSettings`."""
    rows_of_tolerance: int = 1_000_000
    """From this number of rows on, `PassSettings.tolerance` applies unchanged. A pass over fewer
    rows costs less, so a smaller gain is worth it."""
    single_precision_spread: float = 1e4
    """Rows are compared in single precision unless the lowest WCSS is this many times smaller than
    the total spread. Not measured separately; single precision loses about 1e-7 of the spread."""


@dataclass(frozen=True)
class SparkSettings:
    """The engine for rows in Spark."""

    exact_rows: int = 1_000_000
    """Up to this number of rows, blocks hold float64 and the passes, which are short, use a tenth
    of the tolerance. Above it, a row is rounded by 6e-8 of its distance to the sample's mean, and
    sums are off by up to one in a million."""
    searches: int = 3
    """Number of searches of a sample: a table larger than its sample has more optima than one
    search finds."""
    seed_step: int = 1_000_003
    """Step between the seeds of these searches, so that they are far from the seeds a user would
    try one after another."""
    sample_noise: float = 5e-3
    """How far above the best on the sample (relative) a solution may be and still be the best on
    all rows. Not measured separately."""
    noise: float = 5.0
    """Number of standard errors within which a centre of the sample counts as one of all rows. Not
    measured separately."""


LOCAL_SEARCH = LocalSearchSettings()
SINGLE_STARTS = SingleStartsSettings()
GENERATIONS = GenerationSettings()
EXACT_PATH = ExactPathSettings()
PASSES = PassSettings()
SAMPLES = SampleSettings()
LARGE_DATA = LargeDataSettings()
SPARK = SparkSettings()
