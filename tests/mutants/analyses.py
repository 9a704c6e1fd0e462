"""Bugs in `robustmerge diagnose`: its quantities, verdict, report and summary."""

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
        "test_core_updates.py",
    ),
    _plant(
        "rounding counts as a direction",
        "core_updates.py::CoreUpdate.svd",
        "k = numerical_rank(whole.S)",
        "k = len(whole.S)",
        "test_core_updates.py",
    ),
    _plant(
        "principal angles over the larger rank",
        "core_updates.py::subspace_overlap",
        "smaller = min(X.shape[1], Y.shape[1])",
        "smaller = max(X.shape[1], Y.shape[1])",
        "test_core_updates.py",
    ),
    _plant(
        "entropy in squares",
        "spectrum.py::measure_spectrum",
        "p = S / S.sum()",
        "p = S.square() / S.square().sum()",
        "test_spectrum.py",
    ),
    _plant(
        "kurtosis not in excess of a Gaussian's",
        "values.py::_measure_moments",
        ".pow(4).mean()) - 3",
        ".pow(4).mean())",
        "test_values.py",
    ),
    _plant(
        "columns are sampled by the rows' draw",
        "values.py::sample_entries",
        '_sample(stack, d_out, "rows"), _sample(stack, d_in, "columns")',
        '_sample(stack, d_in, "rows"), _sample(stack, d_in, "columns")',
        "test_values.py",
    ),
    _plant(
        "inputs and outputs confused",
        "pairs.py::compare_pairs",
        "inputs=subspace_overlap(first.svd.Vh.T, second.svd.Vh.T),",
        "inputs=subspace_overlap(first.svd.U, second.svd.U),",
        "test_pairs.py",
    ),
    _plant(
        "chance of the other side",
        "pairs.py::compare_pairs",
        "inputs_chance=larger / d_in",
        "inputs_chance=larger / d_out",
        "test_pairs.py",
    ),
    _plant(
        "zero entries have a sign",
        "pairs.py::_sign_conflict",
        "(smaller > 0).double()",
        "torch.ones_like(smaller)",
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
        "adapters without the module are counted in shared directions",
        "shared_directions.py::measure_shared_directions",
        "for task in space.tasks if task.rank]",
        "for task in space.tasks]",
        "test_shared_directions.py",
    ),
    _plant(
        "the edge of chance without the adapters' number",
        "shared_directions.py::chance_edge",
        "2 * math.sqrt((T - 1) * alpha * (1 - alpha))",
        "2 * math.sqrt(alpha * (1 - alpha))",
        "test_shared_directions.py",
    ),
    _plant(
        "factors are multiplied before they are summed",
        "cross_terms.py::measure_cross_terms",
        "product = add([f.B for f in padded]) @ add([f.A for f in padded])",
        "product = add([f.B @ f.A for f in padded])",
        "test_cross_terms.py",
    ),
    _plant(
        "crosstalk counts the adapter itself",
        "contributions.py::measure_sum",
        "(whole - task.delta) @ inputs",
        "whole @ inputs",
        "test_contributions.py",
    ),
    _plant(
        "a cut's output side only",
        "contributions.py::measure_sum",
        "(U.T @ task.delta @ V).square()",
        "(U.T @ task.delta).square()",
        "test_contributions.py",
    ),
    _plant(
        "one rank too many for an energy",
        "contributions.py::_rank_for",
        "(1 - 1e-12)).sum()) + 1",
        "(1 - 1e-12)).sum()) + 2",
        "test_contributions.py",
    ),
    _plant(
        "a direction and its opposite are the same",
        "direction.py::_measure_overlaps",
        "both = left * right",
        "both = (left * right).abs()",
        "test_direction.py",
    ),
    _plant(
        "matching by the least similarity",
        "direction.py::match_directions",
        "maximize=True",
        "maximize=False",
        "test_direction.py",
    ),
    _plant(
        "a direction without partner takes the last",
        "direction.py::_pick",
        "padded = torch.nn.functional.pad(X, (0, 1))",
        "padded = torch.cat([X, X[:, -1:]], 1) if X.shape[1] else torch.zeros(len(X), 1).double()",
        "test_direction.py",
    ),
    _plant(
        "the ratio upside down",
        "direction.py::_measure_overlaps",
        "ratios = merged.svd.S.expand(k, -1) / task.S[:, None]",
        "ratios = task.S[:, None] / merged.svd.S.expand(k, -1)",
        "test_direction.py",
    ),
    _plant(
        "the largest direction is among the rest",
        "direction.py::follow_directions",
        'parts: tuple[tuple[Part, slice], ...] = (("largest", slice(1)), ("rest", slice(1, None)))',
        'parts: tuple[tuple[Part, slice], ...] = (("largest", slice(1)), ("rest", slice(0, None)))',
        "test_direction.py",
    ),
    _plant(
        "the coefficient by the merge's energy",
        "retention.py::measure_retention",
        "coefficient=share(inner, task.energy)",
        "coefficient=share(inner, merged.energy)",
        "test_retention.py",
    ),
    _plant(
        "directions that QR fills in count as an adapter's",
        "unattributed.py::split_energy",
        "joint = float((P.T @ M[: len(P), : len(Q)] @ Q).square().sum())",
        "joint = float(M[: len(P), : len(Q)].square().sum())",
        "test_unattributed.py",
    ),
    _plant(
        "the first step is taken for the projection on all blocks",
        "unattributed.py::_in_blocks",
        "for _ in range(_STEPS):",
        "for _ in range(1):",
        "test_unattributed.py",
    ),
    _plant(
        "a small update is rounding error of a large one",
        "unattributed.py::_explained",
        "task.delta.flatten() / task.delta.norm() for task",
        "task.delta.flatten() for task",
        "test_unattributed.py",
    ),
    _plant(
        "undefined figures count as zero",
        "pooled.py::_estimate_columns",
        "defined = [row for row in rows if getattr(row, name) is not None]\n        if defined:\n"
        "            values = [float(getattr(row, name)) for row in defined]",
        "defined = rows\n        if defined:\n"
        "            values = [float(getattr(row, name) or 0) for row in defined]",
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
        "merges are not measured against the base",
        "survey.py::_survey_merge",
        'measure_spectrum(module, merge, "merge", merged, base)',
        'measure_spectrum(module, merge, "merge", merged, None)',
        "test_run.py",
    ),
    _plant(
        "every merge is measured as the first",
        "survey.py::survey_module",
        "zip(merges, inputs.merged, strict=True)",
        "zip(merges, inputs.merged[:1] * len(merges), strict=True)",
        "test_run_mixed.py",
    ),
    _plant(
        "modules that only a merge has are not measured",
        "run.py::run_diagnosis",
        'align.select_modules([*adapters, *merged], "zero")',
        'align.select_modules(adapters, "zero")',
        "test_run_mixed.py",
    ),
    _plant(
        "A's are compared with themselves",
        "verdict.py::compare_initializations",
        'diagnosis.adapters.index(group.words["second"])',
        'diagnosis.adapters.index(group.words["first"])',
        "test_tables.py",
    ),
    _plant(
        "cross terms count as attributed",
        "verdict.py::_judge_merge",
        '"of nobody": parts["cross"].weighted + outside',
        '"of nobody": outside',
        "test_verdict_figures.py",
    ),
    _plant(
        "merges are ordered by the rest of the directions",
        "verdict.py::_suggest_order",
        'if row.words["part"] == "largest":',
        'if row.words["part"] == "rest":',
        "test_verdict_figures.py",
    ),
    _plant(
        "merges are in the mean over adapters",
        "report/maps.py::_condition",
        "return f\"{name} === '{ALL_ADAPTERS}' ? datum.{word} === 'adapter' : "
        '{menu_filter(name)}"',
        "return menu_filter(name, ALL_ADAPTERS)",
        "report/test_figures.py",
    ),
    _plant(
        "the inputs' chance with the outputs",
        "report/matrices.py::draw_matrices",
        'title, lead, scale, chance=f"{side}_chance")',
        'title, lead, scale, chance="inputs_chance")',
        "report/test_numbers.py",
    ),
    _plant(
        "the first of many layers are drawn",
        "report/spectra.py::_select_layers",
        "[layers[round(k * (len(layers) - 1) / (_LAYERS - 1))] for k in range(_LAYERS)]",
        "layers[:_LAYERS]",
        "report/test_figures.py",
    ),
    _plant(
        "the rest is shown as the largest",
        "report/numbers.py::_merge_table",
        'for x in ("largest", "rest"))',
        'for x in ("rest", "largest"))',
        "report/test_numbers.py",
    ),
    _print(
        "the least retained is the most",
        "diagnosis_tables.py::merge_table",
        "least = min(coefficients, key=coefficients.__getitem__",
        "least = max(coefficients, key=coefficients.__getitem__",
    ),
    _print(
        "sign conflict is called chance",
        "diagnosis_words.py::describe_adapters",
        'opposed, chance = signs["opposed"].weighted, signs["chance"].weighted',
        'chance, opposed = signs["opposed"].weighted, signs["chance"].weighted',
    ),
)
