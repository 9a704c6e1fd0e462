"""All figures of a diagnosis, in reading order.

A new figure is a function from a diagnosis to charts, in a file of this folder, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..tables import Diagnosis
from .chart import Chart
from .depth import draw_depth
from .directions import draw_directions
from .maps import draw_retention_map, draw_update_maps
from .matrices import draw_matrices
from .merges import draw_merges
from .shapes import draw_histograms
from .spectra import draw_spectra

FIGURES: tuple[Callable[[Diagnosis], Iterator[Chart]], ...] = (
    draw_matrices,
    draw_spectra,
    draw_update_maps,
    draw_depth,
    draw_histograms,
    draw_merges,
    draw_directions,
    draw_retention_map,
)


def draw_figures(diagnosis: Diagnosis) -> tuple[Chart, ...]:
    """Return the figures for which the diagnosis has data."""
    return tuple(chart for draw in FIGURES for chart in draw(diagnosis))
