"""Bugs that the tests must find: what is written, what the bug makes of it, which tests see it.

Each of them is one that a person might make: a factor transposed, A and B summed apart, a wrong
denominator, a scale ignored, one entry too many, a seed ignored. `make mutants` plants them one by
one in a copy of the project; a test keeps the list in step with the code.
"""

from __future__ import annotations

from analyses import DIAGNOSIS
from benchmark import BENCHMARK
from mutant import Mutant, plant as _plant
from scoring import SCORING

from answers import ANSWERING

__all__ = ["PLANTED", "Mutant"]

CONTRACT = "tests/test_method_contract.py"

MERGING = (
    # Scales and weights
    _plant(
        "scale ignored on reading",
        "adapter/reader.py::Adapter.factors",
        "B if module.scaling == 1 else B.mul_(module.scaling)",
        "B",
        "tests/oracle",
    ),
    _plant(
        "a merge of DoRA adapters says that it is plain LoRA",
        "adapter/settings.py::plain_lora",
        '"use_dora": first.config.dora',
        '"use_dora": False',
        "tests/engine/test_dora.py",
    ),
    _plant(
        "weights ignored in the exact sum",
        "linalg.py::concat",
        "torch.cat([f.B * w for",
        "torch.cat([f.B for",
        "tests/test_linalg.py",
    ),
    _plant(
        "weights ignored in core space",
        "linalg.py::Core.weighted",
        "return self.M * self.weights[:, None, None]",
        "return self.M",
        CONTRACT,
        "-k",
        "tsv-m",
    ),
    _plant(
        "recipe's scale ignored",
        "engine/run.py::MergeRun._update",
        "return update.scaled(scale), scale, notes",
        "return update, scale, notes",
        "tests/engine/test_every_method.py",
        "-k",
        "task-arithmetic",
    ),
    _plant(
        "one factor forgets the scale",
        "factors.py::Factors.scaled",
        "Factors(self.A, self.B * by)",
        "Factors(self.A * by, self.B * by)",
        "tests/engine/test_every_method.py",
        "-k",
        "task-arithmetic",
    ),
    _plant(
        "mean not divided by the weights",
        "factors.py::Stack.share",
        "return tuple(w / total for w in self.weights)",
        "return tuple(self.weights)",
        "tests/methods/test_sums.py",
    ),
    # Core space
    _plant(
        "factor transposed in the core",
        "linalg.py::common_bases",
        "Factors(a.T, b) for",
        "Factors(b.T, a) for",
        "tests/test_linalg.py",
    ),
    _plant(
        "energy of values instead of squares",
        "linalg.py::SVD.cut",
        "_share(float(S.square().sum()), self.energy)",
        "_share(float(S.sum()), self.energy)",
        "tests/test_linalg.py",
    ),
    _plant(
        "singular values on both sides",
        "linalg.py::SVD.cut",
        "root = S.sqrt()",
        "root = S",
        "tests/test_linalg.py",
    ),
    _plant(
        "polar of the wrong side",
        "linalg.py::polar",
        "return P @ Qt",
        "return P @ Qt.flip(0)",
        "tests/methods/test_tsv_m.py",
    ),
    _plant(
        "rounding counted as directions",
        "linalg.py::ROUNDING",
        "ROUNDING = 1e-7",
        "ROUNDING = 1e-17",
        CONTRACT,
        "-k",
        "iso-c or tsv-m",
    ),
    # Entry-wise
    _plant(
        "one entry too many",
        "methods/entrywise/_trim.py::floors",
        "max(int(n * density) + extra, least)",
        "max(int(n * density) + extra + 1, least)",
        "tests/methods/test_ties.py",
    ),
    _plant(
        "TIES divides by all adapters",
        "methods/entrywise/_signs.py::merge_agreeing",
        "by = agree.sum(0) if divisor",
        "by = agree.sum(0) * 0 + len(x) if divisor",
        "tests/methods/test_ties.py",
    ),
    _plant(
        "votes without magnitudes",
        "methods/entrywise/_signs.py::majority",
        'x.sign() if by == "frequency" else x',
        "x.sign()",
        "tests/methods/test_ties.py",
    ),
    _plant(
        "DARE does not rescale",
        "methods/entrywise/dare.py::make_drop",
        "kept(block) / density",
        "kept(block)",
        "tests/methods/test_dare.py",
    ),
    _plant(
        "seed ignored",
        "factors.py::Stack.generator",
        "(seed, self.module, *path)",
        "(0, self.module, *path)",
        CONTRACT,
        "-k",
        "dare and seed",
    ),
    _plant(
        "all modules draw the same",
        "factors.py::Stack.generator",
        "(seed, self.module, *path)",
        "(seed, *path)",
        CONTRACT,
        "-k",
        "dare and seed",
    ),
    _plant(
        "DELLA ranks the wrong way",
        "methods/entrywise/della.py::_probabilities",
        "density - epsilon, density + epsilon, cols",
        "density + epsilon, density - epsilon, cols",
        "tests/methods/test_della.py",
    ),
    _plant(
        "PCB norm not squared",
        "methods/entrywise/pcb.py::_score",
        ".square() - 1)).exp()",
        " - 1)).exp()",
        "tests/methods/test_pcb.py",
    ),
    _plant(
        "Consensus of any one adapter",
        "methods/entrywise/consensus.py::consensus.rule.merge",
        "min(k, len(x))",
        "min(1, len(x))",
        "tests/methods/test_consensus.py",
    ),
    _plant(
        "SCE by magnitudes instead of squares",
        "methods/entrywise/sce.py::_coefficients",
        "selected(block).double().square()",
        "selected(block).double().abs()",
        "tests/methods/test_sce.py",
    ),
    _plant(
        "core bases of the wrong side",
        "methods/entrywise/_entries.py::_core",
        "_directions(torch.cat([*M], dim=1)), _directions",
        "_directions(torch.cat([*M.mT], dim=1)), _directions",
        "tests/methods/test_entries.py",
    ),
    _plant(
        "core directions without a sign of their own",
        "methods/entrywise/_entries.py::_signs",
        "torch.where(sums < 0, -1.0, 1.0)",
        "torch.ones_like(sums)",
        CONTRACT,
        "-k",
        "ties and core and frequency and gauge",
    ),
    # Sums
    _plant(
        "Model Stock counts T - 1 twice",
        "methods/sums/model_stock.py::_ratio",
        "c / (c + (1 - c)",
        "c / (1 + (1 - c)",
        "tests/methods/test_model_stock.py",
    ),
    _plant(
        "MetaGPT by norms",
        "methods/sums/metagpt.py::metagpt",
        "tuple(w * square / total",
        "tuple(w * square**0.5 / total",
        "tests/methods/test_norms.py",
    ),
    _plant(
        "A and B averaged with a cross term lost",
        "methods/sums/average.py::average",
        "weighted_sum([f.B for f in padded], share)",
        "weighted_sum([f.B for f in padded], [1.0] * len(padded))",
        "tests/methods/test_sums.py",
    ),
    # Spectral
    _plant(
        "TSV keeps one direction less",
        "methods/spectral/tsv_m.py::_sum_orthogonal",
        "k = numerical_rank(S) if most is None else most",
        "k = numerical_rank(S) - 1 if most is None else most",
        "tests/methods/test_tsv_m.py",
    ),
    _plant(
        "Iso-C takes the sum for the mean",
        "methods/spectral/iso_c.py::_flatten",
        "S[:k].mean()",
        "S[:k].sum()",
        "tests/methods/test_iso.py",
    ),
    _plant(
        "Iso-CTS: specific from the whole update",
        "methods/spectral/_common_specific.py::common_and_specific",
        "outside = deltas - shared[0] @ (shared[0].T @ deltas)",
        "outside = deltas",
        "tests/methods/test_iso.py",
    ),
    _plant(
        "STAR restores nothing",
        "methods/spectral/star.py::_truncate",
        "scaled(total / kept if kept > 0 else 1.0)",
        "scaled(1.0)",
        "tests/methods/test_star.py",
    ),
    _plant(
        "CART cuts one direction more",
        "methods/spectral/cart.py::cart",
        "k = at_least(",
        "k = 1 + at_least(",
        "tests/methods/test_cart.py",
    ),
    _plant(
        "DC-Merge without the block mask",
        "methods/spectral/dc_merge.py::dc_merge",
        "(consensus(kept) * blocks)",
        "consensus(kept)",
        "tests/methods/test_dc_merge.py",
    ),
    _plant(
        "CtM merges the balanced cores",
        "methods/spectral/ctm.py::ctm",
        "C = U.T @ M @ V\n    if inner",
        "C = U.T @ X @ V\n    if inner",
        "tests/methods/test_ctm.py",
    ),
    _plant(
        "Pico shrinks by energy, not its share",
        "methods/spectral/pico.py::_calibration",
        "shrunk = 1 / (1 + max(others, 0) * share)",
        "shrunk = 1 / (1 + max(others, 0) * energy)",
        "tests/methods/test_pico.py",
    ),
    _plant(
        "LEGO without the output rescaling",
        "methods/spectral/lora_lego.py::lora_lego",
        "(len(units) / len(centers)) ** 0.5",
        "1.0",
        "tests/methods/test_lora_lego.py",
    ),
    _plant(
        "DO-Merging divides once by T",
        "methods/spectral/do_merging.py::_average_columns",
        "len(parts) ** 2",
        "len(parts)",
        "tests/methods/test_do_merging.py",
    ),
    _plant(
        "OCAP never caps",
        "methods/spectral/ocap.py::ocap",
        ".clamp_max(1)[:, None, None]",
        ".clamp(1, 1)[:, None, None]",
        "tests/methods/test_ocap.py",
    ),
    # Regression
    _plant(
        "WUDI without the norms",
        "methods/regression/wudi.py::wudi",
        "Interference.of(M, M / norms(M))",
        "Interference.of(M, M)",
        "tests/methods/test_wudi.py",
    ),
    _plant(
        "SWUDI filters one direction more",
        "methods/regression/swudi.py::swudi",
        "f[K:] = 0",
        "f[K + 1 :] = 0",
        "tests/methods/test_swudi.py",
    ),
    _plant(
        "OptMerge without momentum",
        "methods/regression/optmerge.py::_MOMENTUM",
        "_MOMENTUM = 0.9",
        "_MOMENTUM = 0.0",
        "tests/methods/test_optmerge.py",
    ),
    _plant(
        "RegMean weighs every adapter alike",
        "methods/regression/regmean.py::regmean",
        "wanted += space.B.R[:, at] @ G[at]",
        "wanted += space.B.R[:, at] @ G[at] / w",
        "tests/methods/test_regmean.py",
    ),
    _plant(
        "Fisher of A for B",
        "methods/regression/fisher.py::_mean",
        'x = f.A if side == "A" else f.B',
        'x = f.A if side != "A" else f.B',
        "tests/methods/test_fisher.py",
    ),
    _plant(
        "core posterior projects one side only",
        "methods/regression/core_posterior.py::core_posterior.apply",
        "(weights * (left @ X @ right))",
        "(weights * (left @ X))",
        "tests/methods/test_core_posterior.py",
    ),
    # Data
    _plant(
        "padding counted",
        "collect/activations.py::drop_padding",
        "flat[mask.reshape(-1).bool().to(flat.device)]",
        "flat",
        "tests/collect/test_gram.py",
    ),
    _plant(
        "Fisher of B with its scaling left in",
        "collect/gradients.py::Fisher.tensors",
        "B / s**2",
        "B / s",
        "tests/collect/test_fisher.py",
    ),
    _plant(
        "rows of a Gram matrix as they were collected",
        "adapter/statistics.py::Selection.module",
        "table[need][rows][:, rows]",
        "table[need]",
        "tests/adapter/test_statistics.py",
    ),
    # Steps
    _plant(
        "SVC multiplies",
        "steps/svc.py::svc",
        "found.S[:k] / s.mean(0)",
        "found.S[:k] * s.mean(0)",
        "tests/steps/test_svc.py",
    ),
    _plant(
        "LiNeS one layer off",
        "steps/lines.py::lines",
        "(depth.layers - 1)",
        "depth.layers",
        "tests/steps/test_lines.py",
    ),
    _plant(
        "norm rule without roots",
        "scale_rules.py::_norm_matched",
        "sum(abs(w) * math.sqrt(x) for w, x in pairs)",
        "sum(abs(w) * x for w, x in pairs)",
        "tests/steps/test_scale.py",
    ),
    _plant(
        "calibration before balancing is lost",
        "engine/run.py::MergeRun._merge",
        "stack = self._balanced(job, stack)",
        "",
        "tests/steps/test_stages.py",
    ),
    # RobustMerge
    _plant(
        "pruning keeps one entry more",
        "methods/robust/_prune.py::keep_largest",
        "x.numel() - count + 1)",
        "x.numel() - count)",
        "tests/methods/test_robustmerge.py",
    ),
    _plant(
        "scores not clamped",
        "methods/robust/robustmerge.py::complementary_scaling",
        "scales(before, left, clamp)",
        "scales(before, left, 0.0)",
        "tests/methods/test_robustmerge.py",
    ),
    # Files and errors
    _plant(
        "places of an error from inside out",
        "errors.py::within",
        "(place, error.where)",
        "(error.where, place)",
        "tests/test_errors.py",
    ),
    _plant(
        "a path in a recipe is looked for elsewhere",
        "engine/yaml_file.py::relative_to",
        ' or source.startswith((".", "/", "~"))',
        "",
        "tests/engine/test_recipe.py",
    ),
    _plant(
        "a full disk is not seen first",
        "files.py::check_space",
        "needed > free",
        "needed < 0",
        "tests/export/test_refused.py",
        "-k",
        "full_disk",
    ),
    _plant(
        "an expert's epochs all have one order",
        "bench/paper/training/recipe.py::ExpertRecipe.rows",
        "[self.seed, 2, epoch]",
        "[self.seed, 2, 0]",
        "bench/tests/paper/training/test_recipe.py",
    ),
)

PLANTED = (*MERGING, *DIAGNOSIS, *BENCHMARK, *ANSWERING, *SCORING)
