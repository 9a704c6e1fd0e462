"""Flags of countries that are easily told apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robustmerge.errors import MergeError

from .pieces import Drawing

COUNTRIES: Mapping[str, str] = {
    "ar": "Argentina",
    "au": "Australia",
    "at": "Austria",
    "br": "Brazil",
    "ca": "Canada",
    "cl": "Chile",
    "cn": "China",
    "cu": "Cuba",
    "dk": "Denmark",
    "eg": "Egypt",
    "fi": "Finland",
    "fr": "France",
    "de": "Germany",
    "gr": "Greece",
    "in": "India",
    "ie": "Ireland",
    "il": "Israel",
    "it": "Italy",
    "jm": "Jamaica",
    "jp": "Japan",
    "ke": "Kenya",
    "mx": "Mexico",
    "ma": "Morocco",
    "np": "Nepal",
    "ng": "Nigeria",
    "no": "Norway",
    "pk": "Pakistan",
    "pe": "Peru",
    "pl": "Poland",
    "pt": "Portugal",
    "za": "South Africa",
    "es": "Spain",
    "se": "Sweden",
    "ch": "Switzerland",
    "th": "Thailand",
    "tr": "Turkey",
    "ua": "Ukraine",
    "gb": "United Kingdom",
    "us": "United States",
    "vn": "Vietnam",
}
"""Countries by ISO code, the names of the files."""


def read_flags(package: Path) -> tuple[Drawing, ...]:
    """Return the flags of COUNTRIES, by the name of the country."""
    (folder, *_) = [*(package / "usr/share").glob("iso-flags*"), package]
    flags = tuple(Drawing(name, folder / f"{code}.png") for code, name in COUNTRIES.items())
    if missing := [flag.name for flag in flags if not flag.file.is_file()]:
        raise MergeError(
            f"no flags of {', '.join(missing)}",
            where=str(folder),
            hint="remove the folder; fetch it again",
        )
    return flags
