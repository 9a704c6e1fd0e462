"""What merging takes on a GPU: layers of a 7B and of a 70B, RELAY, and answers.

    python benchmarks/gpu.py                          prepared for 10 minutes on a GPU
    python benchmarks/gpu.py --device cpu --tiny      that the script works

Merges are of one layer's modules in memory, 8 adapters, with the cut to the adapters' rank; times
the layers gives the model. RELAY runs from folder to folder on a Llama with random weights of a
7B's width and a few of its layers, which it draws and saves; so do answers, by the same model.
Prints JSON lines and writes benchmarks/results/gpu.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import llama70b
import llava7b
import robustmerge
from robustmerge import methods
from robustmerge.factors import Factors, Stack, noted
from robustmerge.linalg import fit

HERE = Path(__file__).parent
METHODS: tuple[tuple[str, dict[str, str]], ...] = (
    ("robustmerge", {}),
    ("task-arithmetic", {}),
    ("tsv-m", {}),
    ("wudi", {}),
    ("ties", {"space": "delta"}),
    ("dare", {"space": "delta"}),
    ("pcb", {"space": "delta"}),
)
TINY = llava7b.Model("tiny", "tiny-{}", 4, {"self_attn.q_proj": (96, 64)}, pickle=False)
WORDS = 300
"""Words of the random model's tokenizer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, as a test")
    parser.add_argument("--layers", type=int, default=4, help="layers of the random model")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "gpu.json")
    arguments = parser.parse_args()
    kinds = (TINY,) if arguments.tiny else (llava7b.LLAVA, llama70b.LLAMA)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measured(kinds, arguments, Path(folder)):
            rows.append(row)
            print(json.dumps(row), flush=True)
    results = {"device": device_name(arguments.device), "rows": rows}
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def measured(
    kinds: tuple[llava7b.Model, ...], arguments: argparse.Namespace, folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield each measurement."""
    for model in kinds:
        stacks = [stack_of(model, name, arguments.device) for name in model.shapes]
        for name, settings in METHODS:
            seconds = timed(arguments.device, partial(merge, stacks, name, settings))
            yield {"merge": name, **settings, "model": model.base, "layer": seconds}
    shape = (64, 96, 4) if arguments.tiny else (4096, 11008, 32)
    base = random_llama(folder / "base", arguments.layers, shape)
    yield relay(base, folder, arguments.device)
    yield answers(base, arguments.device, tiny=arguments.tiny)


def stack_of(model: llava7b.Model, name: str, device: str) -> Stack:
    """Draw one module's updates on a device."""
    drawn = [llava7b.draw(model.shapes[name], task, 0, model.rank) for task in range(8)]
    updates = [Factors(A.float().to(device), B.float().to(device)) for A, B in drawn]
    return Stack.of(updates, module=name)


def merge(stacks: list[Stack], name: str, settings: dict[str, str]) -> None:
    """Merge every module and cut it to the adapters' rank."""
    method = methods.get(name)
    parameters = method.configure(settings)
    for stack in stacks:
        fit(noted(method(stack, **parameters)).update, max(stack.ranks))


def timed(device: str, work: Callable[[], object]) -> float:
    """Return the seconds of the second of two rounds: the first one warms the device up."""
    work()
    wait(device)
    start = perf_counter()
    work()
    wait(device)
    return perf_counter() - start


def wait(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def random_llama(folder: Path, layers: int, shape: tuple[int, int, int]) -> Path:
    """Save a Llama of random weights with a tokenizer of words w3, w4, and so on.

    Args:
        folder: Where.
        layers: Its blocks.
        shape: Width, width of the MLP, heads; from 4,096 on in bfloat16, with a 7B's vocabulary.
    """
    (width, inner, heads), tiny = shape, shape[0] < 4096
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=WORDS if tiny else 32000,
    )
    LlamaForCausalLM(config).to(torch.float32 if tiny else torch.bfloat16).save_pretrained(folder)
    words = ["<pad>", "<s>", "</s>", *(f"w{n}" for n in range(3, WORDS))]
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.save_pretrained(folder)
    return folder


def relay(base: Path, folder: Path, device: str) -> dict[str, Any]:
    """Merge two adapters of the random model by RELAY, from folders to a folder."""
    config = json.loads((base / "config.json").read_text())
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {"self_attn.q_proj": (width, width), "mlp.down_proj": (width, inner)}
    model = llava7b.Model(str(base), "relay-{}", 8, shapes, pickle=False)
    layers = config["num_hidden_layers"]
    adapters = llava7b.adapters(folder, 2, layers, model)
    samples = []
    for n in range(len(adapters)):
        rows = [{"text": f"w{n}{k} w6 w7{n} " + "w9 " * 40} for k in range(16)]
        path = folder / f"{n}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        samples.append(path)
    start = perf_counter()
    robustmerge.relay(adapters, folder / "merged", base, samples, longest=8, device=device)
    return {"relay": len(adapters), "layers": layers, "seconds": perf_counter() - start}


def answers(base: Path, device: str, *, tiny: bool) -> dict[str, Any]:
    """Return how many tokens the random model answers in a second, in a batch of 16."""
    dtype = torch.float32 if tiny else torch.bfloat16
    model = LlamaForCausalLM.from_pretrained(base, dtype=dtype).to(device).eval()
    ids = torch.arange(3, 67, device=device).expand(16, -1)
    length = 8 if tiny else 64

    def answer() -> object:
        return model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=length,
            min_new_tokens=length,
            do_sample=False,
            pad_token_id=0,
        )

    seconds = timed(device, answer)
    return {"answers": 16 * length, "seconds": seconds, "per_second": 16 * length / seconds}


def device_name(device: str) -> str:
    """Return what the device is called."""
    return torch.cuda.get_device_name() if torch.device(device).type == "cuda" else device


if __name__ == "__main__":
    main()
