"""Compare new customers with a model's training customers; verdict ok, watch or retrain."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from segmentation.config import Limits, MonitoringConfig
from segmentation.data.names import unique_keys
from segmentation.errors import RegistryError
from segmentation.evaluation import drift
from segmentation.scoring.chunks import ScoredChunk, Tally

if TYPE_CHECKING:
    from segmentation.model.segment_model import SegmentModel

VERDICTS = ("ok", "watch", "retrain")
#: MLflow allows 250 characters in the name of a metric.
LONGEST_NAME = 200
_ADVICE = {
    "ok": "The segments still fit.",
    "watch": "Look at the report, and monitor again with the next customers.",
    "retrain": "Fit again with the new customers and promote the result.",
}


@dataclass(frozen=True)
class Finding:
    """A number past its limit: the verdict, a clause for users, and whether rows are to blame."""

    verdict: str
    text: str
    rows: bool = False


@dataclass(frozen=True)
class Monitored:
    """Comparison of the new customers with the training customers.

    Attributes
    ----------
    features : DataFrame
        One row per feature of the model: ``feature``, ``psi``, ``chance`` (upper limit of the PSI
        by chance alone), ``unusable`` (share of rows without a usable value), ``unseen`` (share of
        rows with a category not seen in training), ``verdict``. PSI is missing if no value could be
        used.
    segments : DataFrame
        One row per segment: ``segment``, ``name``, ``then``, ``now`` (shares), ``low``, ``high``
        (Wilson interval of now), ``then_low``, ``then_high``, ``distance_then``, ``distance_now``
        (mean, to the centre), ``verdict``.
    psi_segments : float
        PSI of the shares; NaN if nobody could be scored.
    then, now : int
        Number of training customers and of scored customers.
    distance_then, distance_now : float
        Mean distance to the customer's own centre; NaN if nobody could be scored.
    out_of_range, out_of_range_interval : float, pair of float
        Share of the scored customers farther out than 99 % of their segment's training customers.
    rejected : Counter
        Rows that cannot be scored, by kind of reason.
    missing : tuple of str
        Columns of the model that the customers do not have.
    findings : tuple of Finding
    """

    features: pd.DataFrame
    segments: pd.DataFrame
    psi_segments: float
    then: int
    now: int
    distance_then: float
    distance_now: float
    out_of_range: float
    out_of_range_interval: tuple[float, float]
    rejected: Counter[str]
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """The worst of the findings: ``ok``, ``watch`` or ``retrain``."""
        return max((f.verdict for f in self.findings), key=VERDICTS.index, default="ok")

    @property
    def sentence(self) -> str:
        """The reasons for the verdict in one plain sentence."""
        if not self.findings:
            return "the new customers look like those the model was trained on."
        worst = [f.text for f in self.findings if f.verdict == self.verdict]
        more = f", and {len(worst) - 3} more" if len(worst) > 3 else ""
        return "; ".join(worst[:3]) + more + "."

    @property
    def advice(self) -> str:
        """What to do next."""
        if self.missing:
            return "Put the column back, or fit again without it and promote the result."
        if all(f.rows for f in self.findings if f.verdict == self.verdict) and self.findings:
            return "List these rows and the reasons with: segment score data.path=… out=scored.csv"
        return _ADVICE[self.verdict]


def monitor(
    chunks: Iterable[ScoredChunk],
    model: SegmentModel,
    rules: MonitoringConfig,
    *,
    missing: tuple[str, ...] = (),
) -> Monitored:
    """Compare scored customers with the reference of the model that scored them.

    Parameters
    ----------
    chunks : iterable of ScoredChunk
        Read once; only counts are kept.
    model : SegmentModel
    rules : MonitoringConfig
    missing : tuple of str
        Columns of the model that the customers do not have.

    Raises
    ------
    RegistryError
        The model holds no reference.
    """
    reference = model.reference
    if reference is None:
        raise RegistryError(
            "the model holds no statistics of its training customers: it was made by an earlier "
            "version of segment. Fit and promote again."
        )
    tally = Tally()
    counts = {f["name"]: np.zeros(len(f["shares"])) for f in reference["features"]}
    k = len(model.segment_ids)
    sums, square, beyond = np.zeros(k), 0.0, 0
    for chunk in chunks:
        tally.add(chunk)
        for feature in reference["features"]:
            if feature["name"] in chunk.customers:
                values = chunk.customers[feature["name"]]
                counts[feature["name"]] += drift.bin_counts(feature, _usable(feature, values))
        index = pd.Index(model.segment_ids).get_indexer(pd.Index(chunk.answer["segment"]))
        distance = chunk.answer["distance"].to_numpy()
        sums += np.bincount(index, weights=distance, minlength=k)
        square += float(distance @ distance)
        beyond += int(np.count_nonzero(~chunk.answer["in_range"].to_numpy()))

    n = tally.scored
    sizes = np.array([tally.segments[int(id_)] for id_ in model.segment_ids], dtype=float)
    mean = float(sums.sum() / n) if n else math.nan
    spread = math.sqrt(max(square / n - mean**2, 0.0)) if n else math.nan
    features = _features(reference, counts, tally.read, rules)
    segments = _segments(model, reference, sizes, sums, rules)
    then_counts = np.array(reference["shares"]) * reference["n"]
    psi_segments = drift.psi(then_counts, sizes) if n else math.nan
    interval = drift.wilson(beyond, n, rules.confidence)
    findings = [
        *_missing(missing, tally, rules),
        *_feature_findings(features, rules),
        *_segment_findings(segments, psi_segments, reference["n"], n, rules),
        *_distance_findings(reference, mean, spread, n, rules),
        *_range_findings(
            beyond / n if n else 0.0,
            drift.beyond_noise(then_counts, sizes, rules.confidence),
            rules,
        ),
    ]
    return Monitored(
        features=features,
        segments=segments,
        psi_segments=psi_segments,
        then=int(reference["n"]),
        now=n,
        distance_then=float(reference["mean_distance"]),
        distance_now=mean,
        out_of_range=beyond / n if n else math.nan,
        out_of_range_interval=interval,
        rejected=tally.rejected,
        missing=missing,
        findings=tuple(sorted(findings, key=lambda f: -VERDICTS.index(f.verdict))),
    )


def _usable(feature: Mapping[str, Any], values: pd.Series) -> pd.Series:
    """Return the values without infinite ones, which belong to no bin of the reference."""
    if "categories" in feature:
        return values
    return values.where(np.isfinite(values.to_numpy(dtype=float)))


def _features(
    reference: Mapping[str, Any],
    counts: Mapping[str, np.ndarray[Any, Any]],
    read: int,
    rules: MonitoringConfig,
) -> pd.DataFrame:
    rows = []
    # With many features one is past its limit by chance: Bonferroni splits the error between them.
    level = 1 - (1 - rules.confidence) / len(reference["features"])
    for feature in reference["features"]:
        now = counts[feature["name"]]
        # The last bin of a categorical feature holds the categories not seen in training.
        then = np.array(feature["shares"]) * reference["n"]
        value, n = math.nan, now.sum()
        if n:
            value = drift.psi(then, now)
        bins = int(np.count_nonzero(then + now))
        chance = drift.psi_noise(bins, reference["n"], n, level)
        unseen = now[-1] / read if "categories" in feature and read else 0.0
        rows.append(
            {
                "feature": feature["name"],
                "psi": value,
                "chance": chance,
                "unusable": 1 - n / read if read else 0.0,
                "unseen": unseen,
                "verdict": _past(value, rules.psi) if value > chance else "ok",
            }
        )
    return pd.DataFrame(rows)


def _segments(
    model: SegmentModel,
    reference: Mapping[str, Any],
    sizes: np.ndarray[Any, Any],
    sums: np.ndarray[Any, Any],
    rules: MonitoringConfig,
) -> pd.DataFrame:
    n = sizes.sum()
    rows = []
    for index, id_ in enumerate(model.segment_ids):
        then = reference["shares"][index]
        before = drift.wilson(then * reference["n"], reference["n"], rules.confidence)
        low, high = drift.wilson(sizes[index], n, rules.confidence)
        now = sizes[index] / n if n else math.nan
        apart = high < before[0] or low > before[1]
        rows.append(
            {
                "segment": int(id_),
                "name": str(model.segment_names[index]),
                "then": then,
                "then_low": before[0],
                "then_high": before[1],
                "now": now,
                "low": low,
                "high": high,
                "distance_then": reference["mean_distances"][index],
                "distance_now": sums[index] / sizes[index] if sizes[index] else math.nan,
                "verdict": _past(abs(now - then), rules.share) if apart else "ok",
            }
        )
    return pd.DataFrame(rows).sort_values("segment", ignore_index=True)


def _past(value: float, limits: Limits) -> str:
    """Return the verdict on a single number; NaN is never past a limit."""
    if value >= limits.retrain:
        return "retrain"
    return "watch" if value >= limits.watch else "ok"


def _limit(verdict: str, limits: Limits) -> float:
    return float(getattr(limits, verdict))


def _missing(missing: tuple[str, ...], tally: Tally, rules: MonitoringConfig) -> list[Finding]:
    if missing:
        columns = ", ".join(map(repr, missing))
        return [Finding("retrain", f"column {columns} is missing, so nobody can be scored")]
    share = tally.rejected.total() / tally.read if tally.read else 0.0
    verdict = _past(share, rules.rejected)
    if verdict == "ok":
        return []
    kind, _ = tally.rejected.most_common(1)[0]
    return [
        Finding(
            verdict, f"{share:.1%} of the rows cannot be scored (most often: {kind})", rows=True
        )
    ]


def _feature_findings(features: pd.DataFrame, rules: MonitoringConfig) -> list[Finding]:
    changed = features[features["verdict"] != "ok"].sort_values("psi", ascending=False)
    return [
        Finding(
            str(row.verdict),
            f"the distribution of {row.feature} has changed (PSI {row.psi:.2f}, limit "
            f"{_limit(str(row.verdict), rules.psi):g})",
        )
        for row in changed.itertuples()
    ]


def _segment_findings(
    segments: pd.DataFrame, psi: float, n_then: int, n: int, rules: MonitoringConfig
) -> list[Finding]:
    found = [
        Finding(
            str(row.verdict),
            f"segment {row.segment} ({row.name}) went from {row.then:.1%} to {row.now:.1%} of the "
            "customers",
        )
        for row in segments[segments["verdict"] != "ok"].itertuples(index=False)
    ]
    verdict = _past(psi, rules.psi)
    if verdict == "ok":
        return found
    if not found and psi > drift.psi_noise(len(segments), n_then, n, rules.confidence):
        found.append(Finding(verdict, f"the segments' shares have shifted (PSI {psi:.2f})"))
    return found


def _distance_findings(
    reference: Mapping[str, Any], mean: float, spread: float, n: int, rules: MonitoringConfig
) -> list[Finding]:
    then = reference["mean_distance"]
    if not n or then <= 0:
        return []
    z = float(stats.norm.ppf(rules.confidence))
    chance = z * math.sqrt(reference["sd_distance"] ** 2 / reference["n"] + spread**2 / n)
    verdict = _past(mean / then - 1, rules.distance)
    if verdict == "ok" or mean - then <= chance:
        return []
    text = f"customers are {mean / then - 1:.0%} farther from their segment's centre"
    return [Finding(verdict, text)]


def _range_findings(share: float, chance: float, rules: MonitoringConfig) -> list[Finding]:
    verdict = _past(share, rules.out_of_range)
    if verdict == "ok" or share <= chance:
        return []
    text = f"{share:.1%} of the customers are farther out than 99 % of the training customers were"
    return [Finding(verdict, text)]


def metric_names(features: Sequence[str]) -> dict[str, str]:
    """Return the name of each feature's PSI in MLflow, which allows few characters in it."""
    keys = unique_keys(features, _allowed, longest=LONGEST_NAME)
    return {feature: f"psi/{key}" for feature, key in keys.items()}


def _allowed(name: str) -> str:
    return re.sub(r"[^\w\- ]", "_", name)
