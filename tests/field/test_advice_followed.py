"""Every piece of advice that names an option or a command, followed as it is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from field import (
    situations_of_data,
    situations_of_layouts,
    situations_of_merges,
    situations_of_programs,
    situations_of_tuning,
    situations_of_verbs,
)
from field.following import COMMAND, FILES, OPTION, ROOT, SITUATIONS, advice, run_quietly

MODULES = (
    *(situations_of_data, situations_of_layouts, situations_of_merges, situations_of_programs),
    *(situations_of_tuning, situations_of_verbs),
)
_GGUF = "of a package that is not everywhere; tests/export/test_gguf.py"
_RAY = "of a cluster; bench/tests/jobs/test_cluster.py"
NOT_TRIED = {
    "start the server with --max-lora-rank": "an option of vLLM",
    "start the server with --enable-tower-connector-lora": "an option of vLLM",
    "robustmerge merge … --method": "of a call in Python; tests/methods",
    "collect it with `robustmerge collect`": "of a call in Python; the command asks before",
    "run `robustmerge collect` on these adapters": "of a call in Python; the command asks before",
    "--layout hf keeps them apart": "no family has such names in another layout",
    "a smaller rate, such as --polish 300:rate=1e-4": "a training that ends in NaN",
    "PEFT drops names it does not know": "of a model in Python; tests/test_peft_landed.py",
    "--base is the model that the adapters were trained on": "names are compared before",
    "--base is a model folder as transformers saves it": _GGUF,
    "loses it knowingly": _GGUF,
    "loses them knowingly": _GGUF,
    "or --force to replace it": _GGUF,
    "of which llama.cpp's converter makes both files": _GGUF,
    "fewer --workers or a smaller --rank need less": "tests/field/test_limits.py takes it away",
    "brings an adapter into the layout of fused experts": "of a call in Python; tests/derive",
    "--score 'python my_eval.py {adapter}', which prints": "the command asks before",
    "`hf download REPOSITORY --local-dir COPY` fetches it again": "it needs the Hub",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True": "a setting of vLLM",
    "after --dtype bfloat16, ": "sums that overflow in bfloat16 alone",
    "--format gguf --base MODEL needs no converter": _GGUF,
    "--format full adds it to the base's weights": _GGUF,
    "name a --work folder with more space": "a disk that is full; tests/prompted/test_keep.py",
    "--cpus-per-job, --gpus-per-job": _RAY,
    "where memory ran out, --memory-per-job sets more aside": _RAY,
}
"""Words of advice that no situation covers, and why."""


def test_every_module_registers_situations() -> None:
    assert {make.__module__ for make in SITUATIONS.values()} == {m.__name__ for m in MODULES}


@pytest.mark.parametrize("words", SITUATIONS)
def test_advice_is_given_and_works(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused, *followed = SITUATIONS[words]()
    made = set(tmp_path.iterdir())
    _, text = run_quietly(refused)
    assert words in " ".join(text.split()), text
    assert followed
    for line in followed:
        assert made == set(tmp_path.iterdir()), "a refusal left something"
        code, text = run_quietly(line)
        assert (code, words in " ".join(text.split())) == (0, False), f"{line}\n{text}"
        for path in set(tmp_path.iterdir()) - made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_every_advice_has_a_situation() -> None:
    known = (*SITUATIONS, *NOT_TRIED)
    without = {
        f"{file.relative_to(ROOT)}:{line}: {text}"
        for file in FILES
        for line, text in advice(file)
        if (OPTION.search(text) or COMMAND.search(text))
        and not any(words in text for words in known)
    }
    assert not without, "\n".join(sorted(without))
