"""Runs in the environment of llama.cpp: one base with one adapter, next to PEFT.

    python llama_client.py base FOLDER GGUF           convert a base
    python llama_client.py adapter BASE GGUF ADAPTER  convert, load, and compare the next token
    python llama_client.py converted BASE GGUF ADAPTER FILE  the same with a file that is converted

The next token's log-probabilities after one prompt are compared with those of transformers and
PEFT, with the adapter and without. A crash of the program is that of this process.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

PROMPT = [1, 17, 42, 99, 7, 120, 33]
CLOSE = 2e-2  # nats: the keys and values of the cache are float16 there
CONVERTERS = Path(sys.prefix) / "llama.cpp"


def convert_base(folder: Path, target: Path) -> None:
    """Convert a base, with made-up words: prompts are given as numbers."""
    sys.path[:0] = [str(CONVERTERS), str(CONVERTERS / "gguf-py")]
    spec = importlib.util.spec_from_file_location("convert", CONVERTERS / "convert_hf_to_gguf.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from conversion.llama import LlamaModel  # type: ignore[import-not-found]

    LlamaModel.set_vocab = write_words
    sys.argv = ["convert", str(folder), "--outfile", str(target), "--outtype", "f32"]
    module.main()


def write_words(model: Any) -> None:
    """Write a vocabulary in which every number has a word."""
    size, writer = model.hparams["vocab_size"], model.gguf_writer
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"<{number}>" for number in range(size)])
    writer.add_token_scores([0.0] * size)
    writer.add_token_types([1] * size)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def convert_adapter(base: Path, adapter: Path, target: Path) -> str:
    """Convert an adapter; return the converter's last line where it stops."""
    command = [sys.executable, str(CONVERTERS / "convert_lora_to_gguf.py"), str(adapter)]
    command += ["--base", str(base), "--outfile", str(target), "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines() or ["no message"]
    return "" if done.returncode == 0 else lines[-1]


def count(gguf: Path) -> int:
    """Return how many tensors a converted adapter has."""
    from gguf import GGUFReader  # type: ignore[import-not-found]

    return len(GGUFReader(gguf).tensors)


def llama_cpp(gguf: Path, adapter: Path | None) -> dict[int, float]:
    """Return the log-probabilities of the next token."""
    import xllamacpp  # type: ignore[import-not-found]

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx, params.warmup, params.n_parallel = 128, False, 1
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server = xllamacpp.Server(params)
    request = {"prompt": PROMPT, "n_predict": 1, "n_probs": 60, "temperature": 0.0}
    answer: Any = server.handle_completions(request)
    choice = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {entry["id"]: entry["logprob"] for entry in choice}


def peft(base: Path, adapter: Path | None) -> torch.Tensor:
    """Return the same by transformers and PEFT."""
    config = transformers.AutoConfig.from_pretrained(base)
    kind = getattr(transformers, config.architectures[0])
    model = kind.from_pretrained(base, dtype=torch.float32).eval()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([PROMPT])).logits[0, -1]
    return logits.float().log_softmax(-1)


def distance(seen: dict[int, float], wanted: torch.Tensor) -> float:
    """Return the largest difference over the tokens that were returned."""
    return max(abs(value - float(wanted[token])) for token, value in seen.items())


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if sys.argv[1] == "base":
        convert_base(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    base, gguf, adapter = map(Path, sys.argv[2:5])
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "adapter.gguf"
        if sys.argv[1] == "converted":
            target = Path(sys.argv[5])
        elif stopped := convert_adapter(base, adapter, target):
            print(f"RESULT the converter stops: {stopped}")
            return
        held, wanted = count(target), len(load_file(adapter / "adapter_model.safetensors"))
        if held < wanted:
            print(f"RESULT {wanted - held} of {wanted} tensors are left out by the converter")
            return
        try:
            seen = llama_cpp(gguf, target)
        except Exception as error:
            print(f"RESULT refused: {error}")
            return
    whole, bare = distance(seen, peft(base, adapter)), distance(seen, peft(base, None))
    if whole < CLOSE:
        print(f"RESULT as the input, {whole:.1e} nats from PEFT")
    elif bare < CLOSE:
        print("RESULT the bare base")
    else:
        print(f"RESULT another model, {whole:.2g} nats from PEFT")


if __name__ == "__main__":
    main()
