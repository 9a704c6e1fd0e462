"""Answers are those of transformers and PEFT, and experts are trained, stopped and loaded."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast

from robustmerge_bench.midi.gates import mean_nats
from robustmerge_bench.midi.student import LONGEST, MidiModel
from robustmerge_bench.midi.tasks import SEEN, bind
from robustmerge_bench.midi.training.build import IMAGE, join, make_processor, save_base
from robustmerge_bench.midi.training.dialog import Dialog
from robustmerge_bench.midi.training.experts import expert_jobs, train_expert, train_experts
from robustmerge_bench.midi.training.tower import LiteTowerConfig, pixels
from robustmerge_bench.mini.runs.contender import parse_all
from robustmerge_bench.mini.runs.examine import evaluate
from robustmerge_bench.mini.runs.folders import expert_sets
from robustmerge_bench.mini.runs.plan import Comparison, make_jobs
from robustmerge_bench.mini.runs.results import read_all
from robustmerge_bench.mini.runs.world import World
from robustmerge_bench.mini.training.experts import ExpertSettings, StartOfA
from robustmerge_bench.mini.training.train import TrainingJob
from robustmerge_bench.mini.training.turns import IGNORED

from .test_model import STAGES
from .test_tasks import TASKS, pool

RECIPE = ExpertSettings(rank=2, items=4, epochs=2, batch=4, rate=1e-2)
SPECIAL = ("<|im_start|>", "<|im_end|>", IMAGE)


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for every printable character."""
    letters = [chr(code) for code in range(32, 127)]
    numbers = {text: i for i, text in enumerate(("\n", *letters, *SPECIAL))}
    inner = Tokenizer(models.WordLevel(numbers, unk_token=" "))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=list(SPECIAL),
    )


def tiny_model() -> LlavaForConditionalGeneration:
    """Two layers of random weights, for the tokenizer above."""
    torch.manual_seed(0)
    words = tokenizer()
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    config = LiteTowerConfig(STAGES, head=24, middle=3)
    return join(text, config, words.convert_tokens_to_ids(IMAGE))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("midi") / "base"
    save_base(tiny_model(), tokenizer(), folder)
    return folder


def generated(model: LlavaForConditionalGeneration, dialog: Dialog, item: object) -> str:
    tokens = torch.tensor([dialog.prompt(item.prompt)])
    out = model.generate(
        input_ids=tokens,
        pixel_values=pixels([item.image]),
        max_new_tokens=LONGEST,
        do_sample=False,
        eos_token_id=dialog.end,
        pad_token_id=dialog.end,
    )
    return dialog.text(out[0, tokens.shape[1] :].tolist())


def test_experts_are_trained_and_answer_as_with_peft(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    folder = tmp_path / "experts" / "shared-0" / "gar"
    job = TrainingJob(folder, "gar", "shared", 0, RECIPE)
    assert not train_expert(base, job, tmp_path, pool(), 0.0)
    assert not folder.exists()
    assert train_expert(base, job, tmp_path, pool())
    student = MidiModel.load(base, dtype=torch.float32)
    items = bind(pool())["vqa"].items("test", 5)
    plain = student.answer(items)
    with student.using(folder, 1.0):
        answers = student.answer(items)
    assert student.answer(items) == plain
    model = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32).eval()
    assert plain == [generated(model, student.dialog, item) for item in items]
    tuned = PeftModel.from_pretrained(model, folder).merge_and_unload().eval()
    assert answers == [generated(tuned, student.dialog, item) for item in items]
    assert answers != plain


def test_what_is_missing_is_trained_until_the_time_is_over(base: Path, tmp_path: Path) -> None:
    sets: list[tuple[StartOfA, int]] = [("shared", 0), ("independent", 0)]
    jobs = expert_jobs(tmp_path / "experts", RECIPE, sets, joint=True)
    assert len(jobs) == 2 * len(SEEN) + 1
    assert train_experts(base, jobs, tmp_path, pool(), seconds=0.0) == 0
    for task in SEEN:
        folder = tmp_path / "experts" / "shared-0" / task
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").touch()
    assert train_experts(base, jobs, tmp_path, pool(), seconds=0.0) == 8
    assert train_experts(base, jobs[:9], tmp_path, pool(), seconds=math.inf) == 9
    assert (tmp_path / "experts" / "shared-0" / "joint" / "adapter_config.json").exists()


def test_the_processor_says_what_the_dialog_says() -> None:
    words = tokenizer()
    processor = make_processor(words)
    dialog = Dialog(words, words.convert_tokens_to_ids(IMAGE))
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    parts = [{"type": "image"}, {"type": "text", "text": "Is it a cat?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True
    )
    ready = processor(images=Image.fromarray(image), text=text, return_tensors="pt")
    assert ready.input_ids[0].tolist() == dialog.prompt("Is it a cat?")
    torch.testing.assert_close(ready.pixel_values, pixels([image]), atol=1e-5, rtol=0)


def test_nats_are_those_of_the_stock_class(base: Path) -> None:
    student = MidiModel.load(base, dtype=torch.float32)
    items = bind(pool())["vqa"].items("test", 27)  # more than a batch
    total = 0.0
    for item in items:
        rows = student.dialog.collate([[item]])
        labels = torch.full_like(rows.labels, IGNORED)
        labels[:, 1:] = rows.labels[:, :-1]
        loss = student.model(
            input_ids=rows.tokens, pixel_values=pixels([item.image]), labels=labels
        ).loss
        total += float(loss) * int((labels != IGNORED).sum())
    assert mean_nats(student.model, student.dialog, items) == pytest.approx(total / 27, rel=0.02)


def test_runs_of_the_laptop_benchmark_examine_this_world(base: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(base, root / "base")
    experts = root / "experts" / "shared-0"
    experts.mkdir(parents=True)
    job = TrainingJob(experts / "gar", "gar", "shared", 0, RECIPE)
    train_expert(base, job, tmp_path, pool())
    for task in set(SEEN) - {"gar"}:
        shutil.copytree(experts / "gar", experts / task)
    world = World(lambda: bind(pool()), MidiModel.load)
    sets = expert_sets(root, ["shared"], [0])
    comparison = Comparison(parse_all(["task-arithmetic"]), items=1)
    jobs = [
        job
        for job in make_jobs(root, sets, comparison, world)
        if job.kind in ("zero-shot", "merge") or job.task == "gar"
    ]
    outcome = evaluate(jobs, tmp_path / "out", world)
    assert not outcome.failures
    results = {result.facts["kind"]: result for result in read_all(tmp_path / "out")}
    assert set(results["zero-shot"].scores) == set(results["merge"].scores) == set(TASKS)
    assert set(results["expert"].scores) == {"gar"}
    elsewhere = replace(world, device="nonsense")
    merges = [job for job in jobs if job.kind == "merge"]
    failed = evaluate(merges, tmp_path / "elsewhere", elsewhere).failures
    assert "no device 'nonsense'" in str(failed)
