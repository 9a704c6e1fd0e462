"""Planted bugs of what is read, named and put into rows of the vocabulary."""

from __future__ import annotations

from mutant import plant as _plant

TRUST = (
    _plant(
        "a file of tensors of another name is not seen",
        "adapter/tensor_files.py::_is_unknown",
        "return not (record in names and weights.fullmatch(name))",
        "return False",
        "tests/field/test_files_next_to_the_adapter.py",
    ),
    _plant(
        "a promised module without its tensor is let through",
        "adapter/promises.py::_check_modules",
        "if missing:",
        "if len(missing) > 2:",
        "tests/field/test_files_next_to_the_adapter.py",
    ),
    _plant(
        "wrappers in the middle of names stay",
        "adapter/wrappers.py::unwrap",
        'rest = ".".join(s for s in segments if s not in _ANYWHERE)',
        "rest = name",
        "tests/field/test_names_in_models.py",
    ),
    _plant(
        "target_modules name one generation alone",
        "adapter/layout.py::live_names",
        "(name,) if name == now else tuple(dict.fromkeys((name, _rewrite(now, _EARLIER), now)))",
        "(name,)",
        "tests/field/test_names_in_models.py",
    ),
    _plant(
        "a row is averaged without its weights",
        "engine/extras.py::ExtrasPlan._mean_row",
        "self.weights[n] / total * r.read()[places[n]]",
        "1 / len(present) * r.read()[places[n]]",
        "tests/field/test_new_tokens.py",
    ),
    _plant(
        "a token's own row is averaged with others",
        "engine/extras.py::ExtrasPlan.merge",
        "for row, positions in extra.owners.items():",
        "for row, positions in ():",
        "tests/field/test_new_tokens.py",
    ),
    _plant(
        "tensors behind a larger one keep their place",
        "export/rewrite.py::_write_header",
        "shift += larger[name].spec.nbytes - (entry.end - entry.begin)",
        "shift += 0",
        "tests/field/test_vocabulary.py",
    ),
    _plant(
        "trained rows are added to those of the base",
        "export/full.py::TensorEdit._first_value",
        "tensor[list(self.rows.rows)] = self.rows.values.read().to(tensor.dtype)",
        "tensor[list(self.rows.rows)] += self.rows.values.read().to(tensor.dtype)",
        "tests/field/test_vocabulary.py",
    ),
)
