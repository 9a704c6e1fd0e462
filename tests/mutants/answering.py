"""Bugs in how models are asked, and in what becomes of their answers."""

from __future__ import annotations

from mutant import plant as _plant

_AT = "bench/paper/answering"
_TESTS = "bench/tests/paper/answering"

ANSWERING = (
    _plant(
        "every piece of a prompt begins with a token for the start",
        f"{_AT}/tokens.py::token_ids",
        "tokens[1:] if starts and number else tokens",
        "tokens",
        f"{_TESTS}/test_prompts.py",
    ),
    _plant(
        "a space after the prompt",
        f"{_AT}/prompts.py::vicuna",
        'USER: {mark}{text} ASSISTANT:"',
        'USER: {mark}{text} ASSISTANT: "',
        f"{_TESTS}/test_prompts.py",
    ),
    _plant(
        "a padded picture is in the corner",
        f"{_AT}/images.py::frame_image",
        "((side - width) // 2, (side - height) // 2)",
        "(0, 0)",
        f"{_TESTS}/test_images.py",
    ),
    _plant(
        "padding is rounded to the next gray",
        f"{_AT}/images.py::frame_image",
        "int(255 * share)",
        "round(255 * share)",
        f"{_TESTS}/test_images.py",
    ),
    _plant(
        "a batch's padding is read",
        f"{_AT}/engines/encode.py::_pad_left",
        "[[0] * n + [1] * len(row)",
        "[[1] * n + [1] * len(row)",
        f"{_TESTS}/test_live.py",
        "-k",
        "llava",
    ),
    _plant(
        "padding between a question and its answer",
        f"{_AT}/engines/encode.py::RequestEncoder.__post_init__",
        'tokenizer.padding_side = "left"',
        'tokenizer.padding_side = "right"',
        f"{_TESTS}/test_live.py",
        "-k",
        "qwen2_vl",
    ),
    _plant(
        "answers in the order of lengths",
        f"{_AT}/engines/live.py::LocalEngine.answer",
        "for index, text in zip(indices, texts, strict=True):",
        "for index, text in enumerate(texts):",
        f"{_TESTS}/test_live.py",
        "-k",
        "llava_next",
    ),
    _plant(
        "an answer goes on after its end",
        f"{_AT}/engines/live.py::LocalEngine._cut_at_end",
        "row[: int(over[0])] if len(over) else row",
        "row",
        f"{_TESTS}/test_live.py",
        "-k",
        "an_end",
    ),
    _plant(
        "the model's own settings decide how tokens are chosen",
        f"{_AT}/engines/live.py::LocalEngine.__init__",
        "self.model.generation_config = self._greedy(self.model.generation_config)",
        "self.model.generation_config.pad_token_id = 0",
        f"{_TESTS}/test_live.py",
        "-k",
        "likelihoods",
    ),
    _plant(
        "older layouts go to PEFT as they are",
        f"{_AT}/engines/attach.py::current_layout",
        "known = adapter.layout == layout.HF and not (folder / NON_LORA).is_file()",
        "known = True",
        f"{_TESTS}/test_attach.py",
    ),
    _plant(
        "a run that goes on makes other batches",
        f"{_AT}/run.py::_write",
        "range(done - done % engine.window, total",
        "range(done, total",
        f"{_TESTS}/test_run.py",
    ),
    _plant(
        "half a line stays",
        f"{_AT}/run.py::_done",
        "file.truncate(whole)",
        "pass",
        f"{_TESTS}/test_run.py",
    ),
    _plant(
        "answers that are there are written again",
        f"{_AT}/run.py::_write",
        "lines[max(0, done - start) :]",
        "lines",
        f"{_TESTS}/test_run.py",
    ),
    _plant(
        "answers of another adapter are taken up",
        f"{_AT}/record.py::_adapter_differences",
        "if files[0] != files[1]:",
        "if False:",
        f"{_TESTS}/test_run.py",
    ),
    _plant(
        "a server is not asked again",
        f"{_AT}/engines/server.py::ServerEngine.__init__",
        "max_retries=_RETRIES",
        "max_retries=0",
        f"{_TESTS}/test_server.py",
    ),
    _plant(
        "a server gets pictures as they are",
        f"{_AT}/engines/server.py::ServerEngine._image_url",
        "frame_image(image, request.framing) if self._frames else image",
        "image",
        f"{_TESTS}/test_server.py",
    ),
    _plant(
        "a processor without its settings",
        "collect/load.py::_images_only",
        "settings, _ = whole.get_processor_dict(place)",
        "settings = {}",
        f"{_TESTS}/test_live.py",
        "-k",
        "onevision or smolvlm",
    ),
)
