"""All figures of a diagnosis, in the order in which they are read."""

from __future__ import annotations

from ..tables import Diagnosis
from .depth import depth
from .directions import directions
from .figure import Chart
from .maps import coefficients, sizes
from .matrices import matrices
from .merges import merges
from .shapes import histograms
from .spectra import spectra


def figures(found: Diagnosis) -> tuple[Chart, ...]:
    """Those that there is something to draw for."""
    return (
        *matrices(found),
        *spectra(found),
        *sizes(found),
        *depth(found),
        *histograms(found),
        *merges(found),
        *directions(found),
        *coefficients(found),
    )
