"""Retrieval metrics of embeddings: recall@k, CMC, mean average precision, R-precision."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kdl._checks import check_choice, is_integer
from kdl._typing import DType
from kdl.metrics._host_metric import HostMetric

_DISTANCES = ("l2", "cosine")
_RECALLS = ("any", "share")
_AVERAGE_PRECISIONS = ("standard", "market")
_BLOCK = 2**21  # distances at a time
_ROUNDING = 2.0**-44  # of squared norms: distances that differ by less are equal
_ROUNDING_OF_FLOAT32 = 2.0**-24  # of a norm: how far an embedding may be from what was meant
_FEW = 64  # relevant items up to which counting is faster than sorting


@keras.saving.register_keras_serializable("kdl")
class RetrievalMetrics(HostMetric):
    """Retrieval metrics of a gallery ranked by distance: recall@k, mAP, MAP@R, R-precision.

    For a query with `R` relevant items (of its class) in the gallery, let the relevant ones have
    the ranks `r₁ < r₂ < …`, from 1. Then, averaged over the queries with `R ≥ 1`:

    - `recall@k`: 1 if `r₁ ≤ k`, else 0. Metric learning calls this Recall@K, re-identification
      CMC(k). With `recall="share"` it is what information retrieval means: `#{rᵢ ≤ k} / R`.
    - `map`: mean average precision, `AP = (1/R) Σᵢ i/rᵢ`. With `average_precision="market"` that of
      the Market-1501 evaluation, the area by trapezoids: with `qᵢ` the precision one rank before
      `rᵢ`, or 1 where there is none, `AP = (1/R) Σᵢ (qᵢ + i/rᵢ)/2`.
    - `map@r`: `(1/R) Σ i/rᵢ` over `rᵢ ≤ R`
    - `r_precision`: `#{rᵢ ≤ R} / R`

    Items at equal distance count against the query: others are ranked before the relevant ones, so
    an embedding that has shrunk to a point scores worst. Equal are distances that differ by no more
    than the rounding of the embeddings' differences to float32 makes of them; or the computation in
    float64, where embeddings come in float64 or whole numbers.

    `y_true` is an array of labels, or a dict:

    - `"labels"`: integers `(B,)`
    - `"is_query"`, optional: bool `(B,)`. Queries are ranked against the samples that are none.
      Without it every sample is a query against all others (leave one out).
    - `"cameras"`, optional: integers `(B,)`. Gallery items of the query's class and camera are left
      out of its ranking, the protocol of Market-1501.

    Distances are held for some queries at a time: the memory is that of the embeddings and of 2
    million distances, for 20,000 queries against 20,000 items too.

    This is a metric of a whole set, for loops and `kdl.training.HostEvaluation`: a compiled step
    cannot compute it.

    Args:
        ranks: The `k` of `recall@k`. Defaults to `(1, 5, 10)`.
        distance: `"l2"` (default) or `"cosine"`.
        recall: `"any"` (default) or `"share"`.
        average_precision: `"standard"` (default) or `"market"`.
        junk_label: Label of gallery items that are left out of every ranking, −1 in Market-1501; a
            query must not have it. None (default) for none.
        name: Name of the metric.
        dtype: As in `keras.metrics.Metric`.

    Raises:
        ValueError: If an argument is none of these, shapes do not fit, embeddings are not finite,
            labels are no integers, or no query has a relevant item.

    Source: Market-1501 (Zheng et al., ICCV 2015), section 5; A Metric Learning Reality Check (arXiv
    2003.08505), section 3.2.

    Example:
        >>> import numpy as np
        >>> metric = RetrievalMetrics(ranks=(1, 2))
        >>> metric.update_state(np.array([0, 1, 0, 1]), np.array([[0.0], [1.0], [1.5], [4.0]]))
        >>> {name: round(value, 3) for name, value in metric.result().items()}
        {'recall@1': 0.0, 'recall@2': 0.75, 'map': 0.458, 'map@r': 0.0, 'r_precision': 0.0}
    """

    def __init__(
        self,
        ranks: Sequence[int] = (1, 5, 10),
        distance: str = "l2",
        recall: str = "any",
        average_precision: str = "standard",
        junk_label: int | None = None,
        name: str | None = "retrieval_metrics",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        check_choice("distance", distance, _DISTANCES)
        check_choice("recall", recall, _RECALLS)
        check_choice("average_precision", average_precision, _AVERAGE_PRECISIONS)
        if not ranks or not all(is_integer(k) and k >= 1 for k in ranks):
            raise ValueError(f"ranks must be positive integers; received {ranks!r}.")
        self.ranks = tuple(map(int, ranks))
        self.distance = distance
        self.recall = recall
        self.average_precision = average_precision
        self.junk_label = junk_label

    def collect(
        self, y_true: np.ndarray | dict[str, np.ndarray], y_pred: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Labels, embeddings and, where given, cameras and which are queries."""
        given = y_true if isinstance(y_true, dict) else {"labels": y_true}
        if "labels" not in given or not given.keys() <= {"labels", "cameras", "is_query"}:
            raise ValueError(
                f"y_true must be labels, or a dict with 'labels' and optionally 'cameras' and "
                f"'is_query'; received the keys {sorted(given)}."
            )
        if y_pred.ndim != 2 or not np.isfinite(y_pred).all():
            raise ValueError(
                f"y_pred must be finite embeddings (batch, dimension); received the shape "
                f"{y_pred.shape}" + (" with NaN or infinity." if y_pred.ndim == 2 else ".")
            )
        arrays = {name: _whole(name, values, len(y_pred)) for name, values in given.items()}
        return {**arrays, "embeddings": y_pred}

    def compute(self, parts: list) -> dict[str, float]:
        """The dict of metrics."""
        if len({frozenset(part) for part in parts}) != 1:
            raise ValueError(
                f"y_true must name the same in all batches, of which there is one at least; "
                f"received {[sorted(part) for part in parts[:3]]}."
            )
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        points, zeros, errors = self._points(arrays.pop("embeddings"))
        queries, gallery = _split(arrays.pop("is_query", None), len(points))
        if self.junk_label is not None:
            gallery = gallery[arrays["labels"][gallery] != self.junk_label]
        gallery = gallery[np.argsort(arrays["labels"][gallery])]  # classes lie together
        per_query = []
        step = max(_BLOCK // max(len(gallery), 1), 1)
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            distances, slack = _squares(points[some], points[gallery])
            if self.distance == "cosine":  # of the unit vectors, before one became the origin
                slack = np.full_like(slack, 2 * _ROUNDING)
            if errors.any():
                slack += _shifts(distances, np.add.outer(errors[some], errors[gallery]))
            if zeros.any():  # ½‖x − y‖² is 1 − cos of unit vectors; beside zero ½ is missing
                distances += zeros[some][:, None] != zeros[gallery]
            relevant = _relevant(some, gallery, **arrays)
            rows = zip(distances - slack, distances + slack, relevant, strict=True)
            ranks = [_ranks(least, most, *items) for least, most, items in rows]
            ranks = [row for row in ranks if len(row)]
            if ranks:
                per_query += self._scores(ranks)
        if not per_query:
            raise ValueError(
                "No query has an item of its class in the gallery: there is nothing to retrieve."
            )
        return dict(zip(self._names(), map(float, np.mean(per_query, axis=0)), strict=True))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "ranks": self.ranks,
            "distance": self.distance,
            "recall": self.recall,
            "average_precision": self.average_precision,
            "junk_label": self.junk_label,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _points(self, embeddings):
        """Points whose squared distances rank as required; which are zero vectors; their errors."""
        exact = embeddings.dtype.kind in "biu" or embeddings.dtype == "float64"
        points, zeros = embeddings.astype("float64"), np.zeros(len(embeddings), bool)
        if self.distance == "cosine":
            norms = np.linalg.norm(points, axis=1)
            zeros = norms == 0
            points = points / np.where(zeros, 1, norms)[:, None]
        points = points - points[:1]
        scale = 0 if exact else _ROUNDING_OF_FLOAT32
        return points, zeros, scale * np.linalg.norm(points, axis=1)

    def _scores(self, ranks):
        """The numbers of some queries, in the order of `_names`, from the ranks of each."""
        totals = np.array([len(row) for row in ranks])
        starts = np.cumsum(totals) - totals
        ranks = np.concatenate(ranks)
        hits = np.arange(1, len(ranks) + 1) - np.repeat(starts, totals)

        def sums(values):
            return np.add.reduceat(values, starts, dtype="float64")

        precision = hits / ranks
        first = ranks <= np.repeat(totals, totals)
        average = precision
        if self.average_precision == "market":
            before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1)
            average = (before + precision) / 2
        hits_at = [sums(ranks <= k) for k in self.ranks]
        recalls = [n / totals if self.recall == "share" else n > 0 for n in hits_at]
        shares = [sums(values) / totals for values in (average, precision * first, first)]
        return list(np.stack([*recalls, *shares], axis=1))

    def _names(self):
        return [*(f"recall@{k}" for k in self.ranks), "map", "map@r", "r_precision"]


def _whole(name, values, count):
    """Labels, cameras or marks as integers `(B,)`."""
    values = np.asarray(values)
    if values.shape == (count, 1):
        values = values[:, 0]
    if values.shape != (count,) or not (values == np.floor(values)).all():
        raise ValueError(
            f"{name} must hold one integer for each of the {count} embeddings; received "
            f"{values.dtype} of shape {values.shape}."
        )
    return values.astype("int64")


def _split(is_query, count):
    """Row numbers of the queries and of the gallery."""
    rows = np.arange(count)
    if is_query is None:
        return rows, rows
    return rows[is_query != 0], rows[is_query == 0]


def _squares(first, second):
    """Squared distances, and how far each may be off."""
    sums = np.add.outer(*(np.sum(points**2, axis=1) for points in (first, second)))
    squares = sums - (2 * first) @ second.T
    return np.maximum(squares, 0, out=squares), _ROUNDING * sums


def _shifts(squares, errors):
    """Shift of squared distances if the distances move by `errors`."""
    return errors * (2 * np.sqrt(squares) + errors)


def _relevant(queries, gallery, labels, cameras=None):
    """Slice of the gallery with the class of each query, and which of its items are relevant.

    Args:
        queries: Row numbers.
        gallery: Row numbers, in the order of their labels.
        labels: Of all rows.
        cameras: Of all rows, or None.
    """
    ends = [np.searchsorted(labels[gallery], labels[queries], side) for side in ("left", "right")]
    for query, first, last in zip(queries, *ends, strict=True):
        items = gallery[first:last]
        relevant = items != query
        if cameras is not None:
            relevant &= cameras[items] != cameras[query]
        yield slice(first, last), relevant


def _ranks(least, most, place, relevant_items):
    """Ranks of the relevant among all distances; at equal distance they come last.

    Args:
        least: Distances to all of the gallery, less what rounding may have added.
        most: The same and what it may have taken away.
        place: Slice of the items of the query's class.
        relevant_items: Which of them are relevant; the others are not ranked.
    """
    relevant = np.sort(most[place][relevant_items])
    others = np.append(least[: place.start], least[place.stop :])
    if len(relevant) <= _FEW:
        nearer = [np.count_nonzero(others <= distance) for distance in relevant]
    else:
        others = np.sort(others[others <= relevant[-1]])
        nearer = np.searchsorted(others, relevant, side="right")
    return np.arange(1, len(relevant) + 1) + np.array(nearer, "int64")
