"""Colors of the charts, light and dark; the page's own are in page.css."""

from __future__ import annotations

from typing import Any, Literal

Look = Literal["light", "dark"]
_FONT = 'ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'


def make_config(look: Look, font: str = _FONT) -> dict[str, Any]:
    """Return a Vega-Lite configuration."""
    light = look == "light"
    text, muted, rule = (
        ("#23211d", "#6d675c", "#e2ddd0") if light else ("#e9e6df", "#a29d92", "#34383c")
    )
    surface = "#fffefb" if light else "#1f2225"
    return {
        "background": "transparent" if light else surface,
        "font": font,
        "view": {"stroke": None},
        "axis": {
            "labelColor": muted,
            "titleColor": muted,
            "titleFontWeight": "normal",
            "domainColor": rule,
            "tickColor": rule,
            "gridColor": rule,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "labelLimit": 110,
        },
        "axisBand": {"domain": False, "ticks": False, "grid": False, "labelOverlap": True},
        "legend": {
            "labelColor": text,
            "titleColor": muted,
            "titleFontWeight": "normal",
            "orient": "top",
            "labelFontSize": 11,
            "gradientThickness": 8,
            "symbolSize": 70,
            "symbolStrokeWidth": 2.5,
            "columns": 4,
            "labelLimit": 130,
            "symbolOpacity": 1,
        },
        "rect": {"stroke": surface, "strokeWidth": 1},
        "line": {"strokeWidth": 2},
        "range": _ranges(light=light),
    }


def _ranges(*, light: bool) -> dict[str, list[str]]:
    """Return color scales that start at the background color, so that stronger means more."""
    if light:
        return {
            "heatmap": ["#f3efe2", "#b7d8c4", "#5fae9e", "#1f7a6d", "#0d4650"],
            "diverging": ["#a63d2f", "#e39f86", "#f3efe2", "#8fbfc9", "#1d6280"],
            "ramp": ["#c8b560", "#7fb069", "#1f7a6d", "#1d5280", "#3b2a63"],
            "category": [
                "#1f7a6d", "#d1702a", "#4562b0", "#b3312c", "#8a5a9e",
                "#7d8f2a", "#c04f86", "#2f9bc2", "#96733f", "#5c5c5c", "#2c7a2c", "#e0a800",
            ],
        }  # fmt: skip
    return {
        "heatmap": ["#2a2f31", "#265a57", "#2f8f7f", "#66c7a6", "#e3f4c3"],
        "diverging": ["#f2836b", "#96503f", "#2e3336", "#39748a", "#7cc8e6"],
        "ramp": ["#f3dc80", "#a5d27e", "#3fb9a5", "#4f93d6", "#a98be8"],
        "category": [
            "#3fb9a5", "#f0944d", "#7f9cf0", "#f2776f", "#c495dc",
            "#b9cc5c", "#ee86b7", "#62c4ea", "#d0a96c", "#a8a8a8", "#7ed17e", "#ffe08a",
        ],
    }  # fmt: skip
