"""The paper's ablations and sweeps, as merges to be examined.

Every study holds the same experts and asks for the same merges twice: at the methods' own scale, as
the paper does, and at the factor that is best on validation items, since most variants change how
large a merge is, and a change of size alone is no finding.

Source of the tables and figures that are repeated: Zeng et al., RobustMerge, NeurIPS 2025,
arXiv:2502.17159.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from robustmerge_bench.mini.runs.contender import Protocol

SCALES: tuple[Protocol, ...] = ("default", "sweep")
DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
RIVALS = ("task-arithmetic", "ties", "tsv-m", "robustmerge")
"""Methods that RobustMerge is compared with over ranks and numbers of tasks."""

RANK = "rank"
NUMBER = "number"


@dataclass(frozen=True)
class StudyPoint:
    """One merge of a study.

    Attributes:
        row: Its name: of a row in a table, of a curve in a chart.
        merge: The merge, as `robustmerge bench mini run --methods` takes it.
        x: Its position on the curve; None in a table.
        count: How many tasks' experts are merged, the first ones; 0 for all.
        paper: The paper's seen and unseen average, as far as printed.
    """

    row: str
    merge: str
    x: float | None = None
    count: int = 0
    paper: tuple[float, ...] = ()


@dataclass(frozen=True)
class PaperStudy:
    """A study.

    Attributes:
        name: Its short name.
        title: Its subject.
        source: The table or figure of the paper that it repeats.
        points: The merges.
        x_label: The quantity that the curves run over.
    """

    name: str
    title: str
    source: str
    points: tuple[StudyPoint, ...]
    x_label: str = ""


COMPONENTS = PaperStudy(
    "table6",
    "Pruning, scaling, normalization",
    "table 6",
    (
        StudyPoint("none: the exact sum of updates", "task-arithmetic", paper=(53.93,)),
        StudyPoint("none: sum of A, mean of B", "robustmerge-ablation:prune=false,scaling=false"),
        StudyPoint("prune", "robustmerge-ablation:scaling=false"),
        StudyPoint("prune, scale", "robustmerge-ablation:normalize=false", paper=(56.14,)),
        StudyPoint("prune, scale, normalize", "robustmerge", paper=(57.33,)),
        StudyPoint("the same as a sum of products", "robustmerge-paper"),
    ),
)
COEFFICIENTS = PaperStudy(
    "table7",
    "Where the coefficient comes from",
    "table 7",
    (
        StudyPoint("none", "robustmerge-ablation:scaling=false", paper=(54.1, 32.5)),
        StudyPoint("individual, A", "robustmerge-ablation:scale_from=A", paper=(54.5, 32.1)),
        StudyPoint("individual, B", "robustmerge-ablation:scale_from=B", paper=(55.4, 34.1)),
        StudyPoint(
            "individual, A and B", "robustmerge-ablation:scale_from=both", paper=(51.7, 35.0)
        ),
        StudyPoint("inter-parameter: of A, on B", "robustmerge", paper=(57.3, 38.0)),
    ),
)
CRITERIA = PaperStudy(
    "criterion",
    "What pruning goes by",
    "figure 5b",
    (
        StudyPoint("magnitude, on factors", "magnitude-prune:density=0.2,space=factor"),
        StudyPoint("random, on factors", "dare:density=0.2,space=factor"),
        StudyPoint("elected sign, on factors", "ties:density=0.2,space=factor"),
        StudyPoint("magnitude, on deltas", "magnitude-prune:density=0.2,space=delta"),
        StudyPoint("random, on deltas", "dare:density=0.2,space=delta"),
        StudyPoint("elected sign, on deltas", "ties:density=0.2,space=delta"),
        StudyPoint("magnitude, on factors, with scaling", "robustmerge"),
    ),
)


def _density(value: float, rest: str = "") -> str:
    """Name RobustMerge at a density, without its own, so that it is the same merge everywhere."""
    own = ",".join(filter(None, ["" if value == 0.2 else f"density={value}", rest]))
    method = "robustmerge-ablation" if rest else "robustmerge"
    return f"{method}:{own}" if own else method


DENSITY = PaperStudy(
    "density",
    "How much pruning keeps",
    "figure 5a",
    tuple(
        StudyPoint(row, _density(value, rest), value)
        for row, rest in (("robustmerge", ""), ("without scaling", "scaling=false"))
        for value in DENSITIES
    ),
    "density: share of the entries that is kept",
)


def number_of_tasks(tasks: int) -> PaperStudy:
    """Merge the experts of the first two tasks, of the first three, and so on."""
    points = tuple(StudyPoint(name, name, n, n) for name in RIVALS for n in range(2, tasks + 1))
    return PaperStudy(NUMBER, "How many tasks are merged", "figure 9", points, "number of tasks")


RANKS = PaperStudy(
    RANK,
    "The rank of the experts",
    "figure 6",
    tuple(StudyPoint(name, name) for name in RIVALS),
    "rank of the experts",
)
"""One column of it: the same for every set of experts."""


def at(study: PaperStudy, x: float) -> PaperStudy:
    """Move all points of a study to one x of the curves."""
    return replace(study, points=tuple(replace(point, x=x) for point in study.points))


def every(tasks: int) -> Sequence[PaperStudy]:
    """Return all studies of experts of one rank."""
    return (COMPONENTS, COEFFICIENTS, DENSITY, CRITERIA, number_of_tasks(tasks))
