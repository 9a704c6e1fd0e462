"""Planted bugs of what is read, named and put into rows of the vocabulary."""

from __future__ import annotations

from mutant import plant as _plant

_QUANTIZED = "tests/export/test_quantized.py"
_KINDS = "tests/derive/test_convert.py"
_GGUF = "tests/export/test_gguf.py"
_RESULTS = "tests/field/test_results.py"
_ODD_TENSORS = "tests/field/test_odd_tensors.py"
_ODD_FOLDERS = "tests/field/test_odd_folders.py"

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
        "end = position + larger[name].spec.nbytes",
        "end = position + entry.end - entry.begin",
        "tests/field/test_vocabulary.py",
    ),
    _plant(
        "trained rows are added to those of the base",
        "export/full.py::TensorEdit._first_value",
        "tensor[list(self.rows.rows)] = self.rows.values.read().to(tensor.dtype)",
        "tensor[list(self.rows.rows)] += self.rows.values.read().to(tensor.dtype)",
        "tests/field/test_vocabulary.py",
    ),
    # Bases in 4 and 8 bit
    _plant(
        "GPTQ's zero points are taken as they are stored",
        "adapter/quantized/integers.py::gptq_values",
        "zeros = (zeros + 1) % 2**bits",
        "zeros = zeros % 2**bits",
        _QUANTIZED,
    ),
    _plant(
        "the last zero point of GPTQ does not wrap",
        "adapter/quantized/integers.py::gptq_values",
        "zeros = (zeros + 1) % 2**bits",
        "zeros = zeros + 1",
        _QUANTIZED,
    ),
    _plant(
        "groups of GPTQ follow the inputs, whatever g_idx says",
        "adapter/quantized/integers.py::gptq_values",
        'group = packed.read(".g_idx").long()',
        "group = torch.arange(d_in) // (d_in // len(scales))",
        _QUANTIZED,
    ),
    _plant(
        "a number that begins in one word ends there",
        "adapter/quantized/integers.py::unpack",
        "low = low | (following << _WORD)",
        "pass",
        _QUANTIZED,
    ),
    _plant(
        "the halves of a byte change places",
        "adapter/quantized/bitsandbytes.py::four_bit_values",
        "torch.stack([code.repeat_interleave(16), code.repeat(16)], 1)",
        "torch.stack([code.repeat(16), code.repeat_interleave(16)], 1)",
        _QUANTIZED,
    ),
    _plant(
        "scales that are quantized once more lose their mean",
        "adapter/quantized/bitsandbytes.py::_absmax",
        'code[stored.int()] * spread + float(state["nested_offset"])',
        "code[stored.int()] * spread",
        _QUANTIZED,
    ),
    _plant(
        "the rest of an index names tensors that are gone",
        "export/quantized.py::write_index",
        '"weight_map": dict(sorted(shards.items()))',
        '"weight_map": {**index["weight_map"], **shards}',
        _QUANTIZED,
    ),
    # Adapters for llama.cpp
    _plant(
        "the halves of a head change places",
        "export/architectures.py::LanguageModel.reorder",
        "B.view(heads, 2, len(B) // heads // 2, -1).transpose(1, 2)",
        "B.view(heads, len(B) // heads // 2, 2, -1).transpose(1, 2)",
        _GGUF,
    ),
    _plant(
        "keys are ordered by the heads of queries",
        "export/architectures.py::LanguageModel.reorder",
        '"k_proj": self.key_heads',
        '"k_proj": self.heads',
        _GGUF,
    ),
    _plant(
        "scalings are those of the largest rank",
        "export/gguf_file.py::stored_factors",
        "scale = module.scaling * weight.rank / alpha",
        "scale = module.scaling * module.rank / alpha",
        _GGUF,
    ),
    _plant(
        "scalings by module are lost",
        "export/gguf_file.py::stored_factors",
        "right = right if scale == 1 else right * scale",
        "pass",
        _GGUF,
    ),
    # Kinds with shared matrices
    _plant(
        "RandLoRA's sides do not change places",
        "derive/banked.py::randlora",
        "if small == d_in",
        "if small != d_in",
        _KINDS,
    ),
    _plant(
        "a circulant block is its transpose",
        "derive/banked.py::c3a",
        "steps[None, :] - steps[:, None]",
        "steps[:, None] - steps[None, :]",
        _KINDS,
    ),
    _plant(
        "the columns of DeLoRA are not scaled",
        "derive/banked.py::delora",
        'A * module.tensors["delora_w_norm"]',
        "A",
        _KINDS,
    ),
    # What float16 loses
    _plant(
        "a lost part of an update is not remarked",
        "adapter/precision.py::fit_float16",
        '_REMARK if loss > _LITTLE_LOST else ""',
        '""',
        _RESULTS,
    ),
    _plant(
        "factors are moved the wrong way, towards what is too small",
        "adapter/precision.py::suit_float16",
        "factors.A * torch.exp2(-powers)[:, None], factors.B * torch.exp2(powers)",
        "factors.A * torch.exp2(powers)[:, None], factors.B * torch.exp2(-powers)",
        _RESULTS,
    ),
    _plant(
        "a lost part of a fully trained parameter is not named",
        "adapter/precision.py::loses_in_float16",
        "> _LITTLE_LOST",
        "> _MOST_LOST",
        "tests/field/test_conversions.py",
        "-k",
        "float16",
    ),
    _plant(
        "the report forgets which parameters lose",
        "adapter/precision.py::remark_losses",
        "if names else ()",
        "if not names else ()",
        "tests/field/test_conversions.py",
        "-k",
        "float16",
    ),
    # Folders and tensors of other tools
    _plant(
        "a tensor next to the factors is merged as fully trained",
        "adapter/promises.py::check_alone",
        "module in adapted",
        "leaf in adapted",
        _ODD_TENSORS,
    ),
    _plant(
        "the base's copy of a trained module is merged",
        "adapter/keys.py::parse",
        "Part.ORIGINAL",
        "Part.FULL",
        _ODD_TENSORS,
    ),
    _plant(
        "tensors that an index names may be missing",
        "adapter/tensor_files.py::_check_shards",
        "- held",
        "& set()",
        _ODD_FOLDERS,
    ),
    _plant(
        "a shard that no index names is not seen",
        "adapter/tensor_files.py::check_names",
        "or (unread and n in unread)",
        "",
        _ODD_FOLDERS,
    ),
    _plant(
        "a link to nothing is not seen",
        "adapter/not_an_adapter.py::_is_broken",
        "not (path.is_file() or path.is_dir())",
        "not (path.is_file() or path.is_dir() or path.is_symlink())",
        _ODD_FOLDERS,
    ),
)
