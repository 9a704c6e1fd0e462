"""Bugs in `robustmerge diagnose`: its quantities, its verdict, its report, its words."""

from __future__ import annotations

from mutant import Mutant, plant


def _plant(bug: str, at: str, code: str, planted: str, test: str) -> Mutant:
    return plant(f"diagnosis: {bug}", f"diagnosis/{at}", code, planted, f"tests/diagnosis/{test}")


def _print(bug: str, at: str, code: str, planted: str) -> Mutant:
    test = "tests/cli/test_diagnose_figures.py"
    return plant(f"diagnosis: {bug}", f"cli/{at}", code, planted, test)


DIAGNOSIS = (
    _plant(
        "what a merge has outside of the span is lost",
        "core_updates.py::CoreSpace.with_merged",
        "merged = CoreUpdate(Factors(self.A.extended(update.A.T).T, self.B.extended(update.B)))",
        "merged = CoreUpdate(Factors(self.A.extended(update.A.T).T, "
        "self.B.extended(update.B) * torch.cat([torch.ones(len(self.B.tau)), torch.zeros("
        "len(self.B.extended(update.B)) - len(self.B.tau))])[:, None]))",
        "test_small.py",
    ),
    _plant(
        "rounding counts as a direction",
        "core_updates.py::CoreUpdate.svd",
        "k = numerical_rank(whole.S)",
        "k = len(whole.S)",
        "test_small.py",
    ),
    _plant(
        "principal angles over the larger rank",
        "core_updates.py::overlap",
        "smaller = min(one.shape[1], other.shape[1])",
        "smaller = max(one.shape[1], other.shape[1])",
        "test_small.py",
    ),
    _plant(
        "entropy in squares",
        "spectrum.py::spectrum",
        "p = S / S.sum()",
        "p = S.square() / S.square().sum()",
        "test_spectrum.py",
    ),
    _plant(
        "kurtosis not in excess of a Gaussian's",
        "values.py::_moments",
        ".pow(4).mean()) - 3",
        ".pow(4).mean())",
        "test_values.py",
    ),
    _plant(
        "columns are sampled by the rows' draw",
        "values.py::sample",
        '_some(stack, d_out, "rows"), _some(stack, d_in, "columns")',
        '_some(stack, d_in, "rows"), _some(stack, d_in, "columns")',
        "test_values.py",
    ),
    _plant(
        "inputs and outputs confused",
        "pairs.py::pairs",
        "inputs=overlap(one.svd.Vh.T, other.svd.Vh.T),",
        "inputs=overlap(one.svd.U, other.svd.U),",
        "test_pairs.py",
    ),
    _plant(
        "chance of the other side",
        "pairs.py::pairs",
        "inputs_chance=larger / d_in",
        "inputs_chance=larger / d_out",
        "test_pairs.py",
    ),
    _plant(
        "zero entries have a sign",
        "pairs.py::_conflict",
        "(at_stake > 0).double()",
        "torch.ones_like(at_stake)",
        "test_pairs.py",
    ),
    _plant(
        "all mass is opposed twice",
        "signs.py::_opposed",
        "abs().sum())) / 2, mass)",
        "abs().sum())), mass)",
        "test_signs.py",
    ),
    _plant(
        "adapters without the module are counted in crowding",
        "shared_directions.py::crowding",
        "for task in space.tasks if task.rank]",
        "for task in space.tasks]",
        "test_crowding.py",
    ),
    _plant(
        "the edge of chance without the adapters' number",
        "shared_directions.py::edge",
        "2 * math.sqrt((T - 1) * alpha * (1 - alpha))",
        "2 * math.sqrt(alpha * (1 - alpha))",
        "test_crowding.py",
    ),
    _plant(
        "factors are multiplied before they are summed",
        "cross_terms.py::apart",
        "both = summed([f.B for f in padded]) @ summed([f.A for f in padded])",
        "both = summed([f.B @ f.A for f in padded])",
        "test_apart.py",
    ),
    _plant(
        "crosstalk counts the adapter itself",
        "contributions.py::total",
        "(whole - task.delta) @ inputs",
        "whole @ inputs",
        "test_total.py",
    ),
    _plant(
        "a cut's output side only",
        "contributions.py::total",
        "(U.T @ task.delta @ V).square()",
        "(U.T @ task.delta).square()",
        "test_total.py",
    ),
    _plant(
        "one rank too many for an energy",
        "contributions.py::_rank_for",
        "(1 - 1e-12)).sum()) + 1",
        "(1 - 1e-12)).sum()) + 2",
        "test_total.py",
    ),
    _plant(
        "a direction and its opposite are the same",
        "direction.py::_fates",
        "both = left * right",
        "both = (left * right).abs()",
        "test_direction.py",
    ),
    _plant(
        "matching by the least similarity",
        "direction.py::assignment",
        "maximize=True",
        "maximize=False",
        "test_direction.py",
    ),
    _plant(
        "a direction without partner takes the last",
        "direction.py::_at",
        "padded = torch.nn.functional.pad(X, (0, 1))",
        "padded = torch.cat([X, X[:, -1:]], 1) if X.shape[1] else torch.zeros(len(X), 1).double()",
        "test_direction.py",
    ),
    _plant(
        "the ratio upside down",
        "direction.py::_fates",
        "sizes = merged.svd.S.expand(k, -1) / task.S[:, None]",
        "sizes = task.S[:, None] / merged.svd.S.expand(k, -1)",
        "test_direction.py",
    ),
    _plant(
        "the largest direction is among the rest",
        "direction.py::directions",
        'parts: tuple[tuple[Part, slice], ...] = (("largest", slice(1)), ("rest", slice(1, None)))',
        'parts: tuple[tuple[Part, slice], ...] = (("largest", slice(1)), ("rest", slice(0, None)))',
        "test_direction.py",
    ),
    _plant(
        "the coefficient by the merge's energy",
        "retention.py::kept",
        "coefficient=share(inner, task.energy)",
        "coefficient=share(inner, merged.energy)",
        "test_kept.py",
    ),
    _plant(
        "what QR puts in place of missing directions is an adapter's",
        "unattributed.py::noise",
        "joint = float((P.T @ M[: len(P), : len(Q)] @ Q).square().sum())",
        "joint = float(M[: len(P), : len(Q)].square().sum())",
        "test_noise.py",
    ),
    _plant(
        "the first step is taken for the projection on all blocks",
        "unattributed.py::_in_blocks",
        "for _ in range(_STEPS):",
        "for _ in range(1):",
        "test_noise.py",
    ),
    _plant(
        "a small update is rounding beside a large one",
        "unattributed.py::_explained",
        "task.delta.flatten() / task.delta.norm() for task",
        "task.delta.flatten() for task",
        "test_noise.py",
    ),
    _plant(
        "undefined figures count as zero",
        "pooled.py::_figures",
        "there = [row for row in rows if getattr(row, name) is not None]\n        if there:\n"
        "            values = [float(getattr(row, name)) for row in there]",
        "there = rows\n        if there:\n"
        "            values = [float(getattr(row, name) or 0) for row in there]",
        "test_pooled.py",
    ),
    _plant(
        "towers are pooled as one",
        "pooled.py::ModuleLocation.group",
        'return f"{self.tower} {self.projection}"',
        "return self.projection",
        "test_pooled.py",
    ),
    _plant(
        "merges beside the base are not measured",
        "survey.py::_after",
        'spectrum(module, merge, "merge", merged, base)',
        'spectrum(module, merge, "merge", merged, None)',
        "test_run.py",
    ),
    _plant(
        "every merge is measured as the first",
        "survey.py::survey",
        "zip(merges, given.merged, strict=True)",
        "zip(merges, given.merged[:1] * len(merges), strict=True)",
        "test_run_mixed.py",
    ),
    _plant(
        "what only a merge has is not looked at",
        "run.py::run",
        'align.modules([*adapters, *merged], "zero")',
        'align.modules(adapters, "zero")',
        "test_run_mixed.py",
    ),
    _plant(
        "A's are compared with themselves",
        "initialization.py::initialization",
        'found.adapters.index(group.words["second"])',
        'found.adapters.index(group.words["first"])',
        "test_tables.py",
    ),
    _plant(
        "cross terms are somebody's",
        "verdict.py::_of_merge",
        'strangers = noise["cross"].weighted + noise["outside"].weighted',
        'strangers = noise["outside"].weighted',
        "test_verdict_figures.py",
    ),
    _plant(
        "merges are ordered by the rest of the directions",
        "verdict.py::_order",
        'if row.words["part"] == "largest":',
        'if row.words["part"] == "rest":',
        "test_verdict_figures.py",
    ),
    _plant(
        "merges are in the mean over adapters",
        "report/maps.py::_map",
        "condition = f\"update === '{ALL}' ? datum.kind === 'adapter' : {chosen(last)}\"",
        "condition = chosen(last, ALL)",
        "report/test_figures.py",
    ),
    _plant(
        "the inputs' chance beside the outputs",
        "report/matrices.py::matrices",
        'title, lead, scale, chance=f"{side}_chance")',
        'title, lead, scale, chance="inputs_chance")',
        "report/test_numbers.py",
    ),
    _plant(
        "the first of many layers are drawn",
        "report/spectra.py::_depths",
        "[there[round(k * (len(there) - 1) / (_DEPTHS - 1))] for k in range(_DEPTHS)]",
        "there[:_DEPTHS]",
        "report/test_figures.py",
    ),
    _plant(
        "the rest stands under the largest",
        "report/numbers.py::_merges",
        'for x in ("largest", "rest"))',
        'for x in ("rest", "largest"))',
        "report/test_numbers.py",
    ),
    _print(
        "the least kept is the most",
        "diagnosis_tables.py::wholes",
        "least = min(kept, key=kept.__getitem__",
        "least = max(kept, key=kept.__getitem__",
    ),
    _print(
        "sign conflict is called chance",
        "diagnosis_words.py::before",
        'opposed, chance = signs["opposed"].weighted, signs["chance"].weighted',
        'chance, opposed = signs["opposed"].weighted, signs["chance"].weighted',
    ),
)
