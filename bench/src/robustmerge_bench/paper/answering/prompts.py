r"""What is asked, word for word as the released scripts ask it.

    A chat between … questions. USER: <image>\n{question} ASSISTANT: {answer}</s>

The chat template of llava-hf's models lacks the first sentence, so that scores with it are others.

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
"""Where the picture is, in a prompt."""

END = "</s>"
LETTER = "Answer with the option's letter from the given choices directly."
"""What LLaVA's script puts after MMBench's options."""

CLASS_LIST = f"Choose an answer from the choices below: {', '.join(IMAGENET_CLASSES)}."


def vicuna(text: str, image: bool, answer: str | None = None) -> str:
    """The whole prompt in LLaVA-1.5's conversation format, up to the answer or with it.

    Args:
        text: The question with its instruction.
        image: There is a picture, which comes first.
        answer: What the assistant says.
    """
    picture = f"{IMAGE}\n" if image else ""
    prompt = f"{SYSTEM} USER: {picture}{text} ASSISTANT:"
    return prompt if answer is None else f"{prompt} {answer}{END}"


def asked(task: PaperTask, question: Question) -> str:
    """The question as the task's released script puts it, without the picture's place.

    Raises:
        MergeError: It names a picture in a place of its own.
    """
    text = question.text
    if task.without_image:  # the one script that takes out what its files put in
        text = text.replace(IMAGE, "").strip()
    if IMAGE in text:
        raise MergeError(
            f"the question's text holds {IMAGE}",
            where=question.where,
            hint="the picture is put before the question; take the mark out of the file",
        )
    if task.kind == "mmbench":
        return f"{text}\n{LETTER}"
    return f"{text.split(chr(10))[0]}\n{CLASS_LIST}" if task.class_list else text


def recorded(task: PaperTask, question: Question) -> str:
    """What the released script writes as the prompt beside an answer.

    One of them says there whether there was a picture; ScienceQA's score over pictures reads that.
    """
    picture = f"{IMAGE}\n" if task.without_image and question.image is not None else ""
    return picture + asked(task, question)
