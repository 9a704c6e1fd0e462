"""Plain questions about writing, numbers and gauges."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .draws import chance, pick, spelled
from .facts import level
from .scene import Scene
from .wording import QuestionAnswer, ask_name, ask_number, vary_name


def read(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for a line of writing."""
    index = int(rng.integers(len(scene.lines)))
    line = scene.lines[index]
    asks = [f"read line {index + 1} ."]
    if index == 0:
        asks += ["what is written first ?", "what is the title ?"]
    if index == len(scene.lines) - 1:
        asks.append("what is written last ?")
    return QuestionAnswer(pick(rng, asks), spelled(line.text))


def number_near(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the number near a thing, in digits or in words."""
    index = int(rng.integers(len(scene.things)))
    question = f"what number is near the {vary_name(rng, scene.things[index].name)} ?"
    return ask_number(rng, question, int(scene.lines[index].text))


def largest(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the thing with the largest number."""
    numbers = [int(line.text) for line in scene.lines]
    if numbers.count(max(numbers)) > 1:
        return number_near(rng, scene)
    thing = scene.things[int(np.argmax(numbers))]
    return ask_name(rng, "which has the largest number ?", thing)


def gauge(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the level of the gauge, as a digit or in a word."""
    assert scene.gauge is not None
    value = scene.gauge[1]
    if chance(rng, 0.5):
        return QuestionAnswer("what does the gauge say ? in a word .", level(value))
    return QuestionAnswer("what does the gauge say ?", str(value))
