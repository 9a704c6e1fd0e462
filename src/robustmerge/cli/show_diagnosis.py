"""What `robustmerge diagnose` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..api import diagnose
from ..diagnose.diagnosis import Diagnosis
from ..diagnose.pooled import Figure, Pooled
from ..engine.threads import Progress
from ..errors import MergeError
from .rows import Row, print_rows
from .show_merge import progress_bar

_SHORT = 16  # of a name in a table


def run(
    sources: Sequence[str], merged: Sequence[str], base: str | None, workers: int | None
) -> Diagnosis:
    """Take the adapters apart, with a progress bar on stderr."""
    with progress_bar(f"looking at {len(sources)} adapters") as progress:
        bar: Progress = progress
        return diagnose(sources, merged, base, workers=workers, progress=bar)


def give(found: Diagnosis, output: Path | None, *, as_json: bool) -> None:
    """Write the tables to the file, if there is to be one, and print them or a summary."""
    record = json.dumps(found.to_dict(), allow_nan=False)
    if output is not None:
        try:
            output.write_text(record + "\n", encoding="utf-8")
        except OSError as error:
            raise MergeError(
                f"cannot write the file: {error.strerror or error}",
                where=str(output),
                hint="the folder has to be there, and to be yours",
            ) from None
    if as_json:
        print(record)
        return
    summary(found)
    if output is not None:
        print(f"\nall tables: {output}")


def summary(found: Diagnosis) -> None:
    """Print the most telling figures, all over the whole model."""
    console = Console(highlight=False, emoji=False)
    counts = [f"{len(found.modules)} modules", _count(len(found.adapters), "adapter")]
    counts += [_count(len(found.merged), "merge")] if found.merged else []
    console.print(", ".join(counts), style="bold")
    for note in found.notes:
        console.print(f"note: {note}", markup=False, style="dim")
    console.print("\nbefore merging", style="bold")
    print_rows(console, _before(found))
    console.print()
    console.print(_adapters(found))
    if found.merged:
        console.print("\nafter merging", style="bold")
        for made, legend in ((_wholes(found), _WHOLES), (_fates(found), _FATES)):
            console.print(made)
            console.print(legend, style="dim")
            console.print()


_WHOLES = """\
  size: norm over the adapters' mean norm. kept: coefficient of an adapter in the
  merge, mean and least. Of the merge's energy: in combinations of the updates, in
  single adapters' directions beyond those, in outputs of one that answer to
  inputs of another, outside of all."""
_FATES = """\
  both: cosine of an adapter's directions u vᵀ with the merge's, by index and under
  the best matching; 1st: the largest, rest: the others. ratio: merged singular
  value over the adapter's, by index. gain: uᵀ Δ v / σ, which needs no pairing.
  ~ singular values repeat, so that directions are not unique"""


def _before(found: Diagnosis) -> list[Row]:
    rows = [Row("sizes", _sizes(found)), Row("spectra", _spectra(found))]
    if len(found.adapters) < 2:
        return rows
    pairs = found.pooled("pairs")
    (signs,) = found.pooled("signs")
    (apart,) = found.pooled("apart")
    rows += [
        Row("cosine", _range(pairs, "cosine")),
        Row("inputs", _range(pairs, "inputs") + _chance(pairs, "inputs_chance")),
        Row("outputs", _range(pairs, "outputs") + _chance(pairs, "outputs_chance")),
        Row("A's", f"cosine of entries {_range(pairs, 'A_cosine')}"),
    ]
    if "opposed" in signs.figures:
        opposed, chance = signs["opposed"].weighted, signs["chance"].weighted
        rows.append(
            Row(
                "signs", f"{opposed:.0%} of the mass against the elected sign (chance {chance:.0%})"
            )
        )
    rows += [Row("crowding" if i == 0 else "", line) for i, line in enumerate(_crowding(found))]
    if "cosine" in apart.figures:
        rows.append(
            Row(
                "factors",
                f"summed apart, cosine {apart['cosine'].weighted:.2f} to the sum of updates, cross "
                f"terms {apart['ratio'].weighted:.2g} times its energy",
            )
        )
    rows.append(Row("sum", _sum(found)))
    return rows


def _sizes(found: Diagnosis) -> str:
    norms = {name: norm for name, norm in whole_norms(found).items() if name in found.adapters}
    least, most = min(norms, key=norms.__getitem__), max(norms, key=norms.__getitem__)
    said = f"norm {norms[least]:.3g} ({least}) to {norms[most]:.3g} ({most})"
    if found.base is None:
        return said
    changes = [p["change"].median for p in found.pooled("spectra") if p.words["kind"] == "adapter"]
    return f"{said}; {min(changes):.1%} to {max(changes):.1%} of the base's weights"


def _spectra(found: Diagnosis) -> str:
    adapters = [p for p in found.pooled("spectra") if p.words["kind"] == "adapter"]
    ranks = max(p["rank"].high for p in adapters)
    shares = [p["first_share"].weighted for p in adapters if "first_share" in p.figures]
    if not shares:
        return "all updates are zero"
    effective = [p["effective_rank"].mean for p in adapters]
    gaps = [p["head_to_tail"].median for p in adapters if "head_to_tail" in p.figures]
    return (
        f"the largest of {ranks:.0f} directions holds {_span(shares, '.0%')} of the energy; "
        f"σ_1/σ_r {_span(gaps, '.2g')}, effective rank {_span(effective, '.1f')}"
    )


def _crowding(found: Diagnosis) -> list[str]:
    lines = []
    for side in found.pooled("crowding"):
        if "largest" in side.figures:
            lines.append(
                f"{side['shared'].mean:.1f} of {side['directions'].mean:.0f} {side.words['side']} "
                f"directions shared beyond chance, with {side['energy'].mean:.0%} of the energy"
            )
    return lines


def _sum(found: Diagnosis) -> str:
    (total,) = found.pooled("total")
    if "at_input_rank" not in total.figures:
        return "zero"
    return (
        f"energy {total['coherence'].weighted:.2f} times the adapters' together; a cut to their "
        f"rank keeps {total['at_input_rank'].weighted:.0%}, rank {total['rank_90'].high:.0f} keeps "
        f"90 %, rank {total['rank_99'].high:.0f} 99 % (of 9 in 10 modules)"
    )


def _adapters(found: Diagnosis) -> Table:
    """One row for each adapter."""
    table = _table("adapter", "norm", "σ_1²", "eff. rank", "kurt. A", "kurt. B", "crosstalk", "cut")
    norms = whole_norms(found)
    spectra = {p.words["update"]: p for p in found.pooled("spectra")}
    heard = {p.words["adapter"]: p for p in found.pooled("heard")}
    shapes = {(p.words["adapter"], p.words["matrix"]): p for p in found.pooled("values")}
    for name in found.adapters:
        table.add_row(
            _name(name),
            f"{norms[name]:.3g}",
            _figure(spectra[name], "first_share", ".0%", weighted=True),
            _figure(spectra[name], "effective_rank", ".1f"),
            _figure(shapes.get((name, "A")), "kurtosis", ".1f"),
            _figure(shapes.get((name, "B")), "kurtosis", ".1f"),
            _figure(heard[name], "crosstalk", ".2g", weighted=True),
            _figure(heard[name], "cut", ".0%", weighted=True),
        )
    table.caption = Text(
        "  σ_1²: energy in the largest direction. kurt.: excess kurtosis (uniform -1.2,\n"
        "  Gaussian 0). crosstalk: energy of the others' answers to its inputs, over its\n"
        "  own. cut: share of it within the sum cut to the adapters' rank.",
        style="dim",
    )
    return table


def _wholes(found: Diagnosis) -> Table:
    """One row for each merge: size, what it keeps, and whose it is."""
    table = _table("merge", "size", "kept", "least", "", "tasks", "recomb.", "cross", "outside")
    norms = whole_norms(found)
    mean = sum(norms[name] for name in found.adapters) / len(found.adapters)
    noise = {p.words["merged"]: p for p in found.pooled("noise")}
    for merge in found.merged:
        kept = {
            p.words["adapter"]: p["coefficient"].weighted
            for p in found.pooled("kept")
            if p.words["merged"] == merge and "coefficient" in p.figures
        }
        least = min(kept, key=kept.__getitem__, default="–")
        table.add_row(
            _name(merge),
            f"{norms[merge] / mean:.2f}" if mean else "–",
            f"{sum(kept.values()) / len(kept):.2f}" if kept else "–",
            f"{kept[least]:.2f}" if kept else "–",
            _name(least, 8),
            *(
                _figure(noise[merge], part, ".0%", weighted=True)
                for part in ("tasks", "recombined", "cross", "outside")
            ),
        )
    return table


def _fates(found: Diagnosis) -> Table:
    """One row for each merge: what became of directions, on average over the adapters."""
    table = _table(
        "merge", "both 1st", "rest", "matched 1st", "rest", "ratio 1st", "rest", "gain 1st", "rest"
    )
    for merge in found.merged:
        rows = [p for p in found.pooled("directions") if p.words["merged"] == merge]
        parts = {w: [p for p in rows if p.words["part"] == w] for w in ("largest", "rest")}
        if not parts["largest"]:
            table.add_row(_name(merge))
            continue
        repeated = _mean(rows, "repeated") > 0.5
        cells = []
        for name in ("both", "both_matched", "ratio", "gain"):
            for part in parts.values():
                mark = "~" if repeated and name != "gain" else ""
                cells.append(f"{mark}{_mean(part, name):.2f}" if part else "–")
        table.add_row(_name(merge), *cells)
    return table


def whole_norms(found: Diagnosis) -> Mapping[str, float]:
    """Norm of every update over all modules."""
    energies = dict.fromkeys((*found.adapters, *found.merged), 0.0)
    for row in found.spectra:
        energies[row.update] += row.weight
    return {name: energy**0.5 for name, energy in energies.items()}


def _mean(rows: Sequence[Pooled], name: str) -> float:
    return sum(row[name].mean for row in rows) / len(rows)


def _range(pairs: Sequence[Pooled], name: str) -> str:
    """Least and most over all pairs, and which they are."""
    found = {
        f"{p.words['first']} and {p.words['second']}": p[name].mean
        for p in pairs
        if name in p.figures
    }
    if not found:
        return "not defined"
    least, most = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    if len(found) == 1:
        return f"{found[least]:.2f}"
    return f"{found[least] + 0.0:.2f} ({least}) to {found[most]:.2f} ({most})"


def _chance(pairs: Sequence[Pooled], name: str) -> str:
    found = [p[name].mean for p in pairs if name in p.figures]
    return f"; chance {max(found):.2g}" if found else ""


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _figure(row: Pooled | None, name: str, form: str, *, weighted: bool = False) -> str:
    if row is None or name not in row.figures:
        return "–"
    figure: Figure = row[name]
    return format((figure.weighted if weighted else figure.mean) + 0.0, form)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", caption_justify="left")
    table.add_column(f"  {first}")
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _name(name: str, most: int = _SHORT) -> Text:
    short = name if len(name) <= most else f"…{name[1 - most :]}"
    return Text(f"  {short}" if most == _SHORT else short)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
