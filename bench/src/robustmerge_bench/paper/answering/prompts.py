r"""Prompts, word for word those of the released scripts.

    A chat between … questions. USER: <image>\n{question} ASSISTANT: {answer}</s>

The chat template of llava-hf's models omits the first sentence, so that scores with it differ.

Source: conversation.py (vicuna_v1) and llava/eval/model_*.py of AuroraZengfh/RobustMerge.
"""

from __future__ import annotations

from robustmerge.errors import MergeError

from ..data.questions import Question
from ..tasks import PaperTask
from ..tasks.classes import IMAGENET_CLASSES

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
IMAGE = "<image>"
"""The mark of the image in a prompt."""

END = "</s>"
LETTER = "Answer with the option's letter from the given choices directly."
"""The instruction that LLaVA's script puts after MMBench's options."""

CLASS_LIST = f"Choose an answer from the choices below: {', '.join(IMAGENET_CLASSES)}."


def vicuna(text: str, image: bool, answer: str | None = None) -> str:
    """Return the prompt in LLaVA-1.5's conversation format, up to the answer or with it.

    The image, if there is one, comes first.
    """
    mark = f"{IMAGE}\n" if image else ""
    prompt = f"{SYSTEM} USER: {mark}{text} ASSISTANT:"
    return prompt if answer is None else f"{prompt} {answer}{END}"


def prompt_text(task: PaperTask, question: Question) -> str:
    """Return the question as in the task's released script, without the mark of the image.

    Raises:
        MergeError: The question's text holds a mark of its own.
    """
    text = question.text
    if task.without_image:  # the one script that takes out what its files put in
        text = text.replace(IMAGE, "").strip()
    if IMAGE in text:
        raise MergeError(
            f"the question's text holds {IMAGE}",
            where=question.where,
            hint="the image is put before the question; remove the mark from the file",
        )
    if task.kind == "mmbench":
        return f"{text}\n{LETTER}"
    return f"{text.split(chr(10))[0]}\n{CLASS_LIST}" if task.class_list else text


def recorded_prompt(task: PaperTask, question: Question) -> str:
    """Return the prompt that the released script writes next to an answer.

    In one of them it shows whether there was an image, which ScienceQA's score over images reads.
    """
    mark = f"{IMAGE}\n" if task.without_image and question.image is not None else ""
    return mark + prompt_text(task, question)
