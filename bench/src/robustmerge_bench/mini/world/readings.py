"""Plain questions about writing, numbers and gauges."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .draws import chance, pick, spelled
from .facts import level
from .scene import Scene
from .wording import QuestionAnswer, called, named, number_turn


def read(rng: Generator, scene: Scene) -> QuestionAnswer:
    """A line of writing."""
    place = int(rng.integers(len(scene.lines)))
    line = scene.lines[place]
    asks = [f"read line {place + 1} ."]
    if place == 0:
        asks += ["what is written first ?", "what is the title ?"]
    if place == len(scene.lines) - 1:
        asks.append("what is written last ?")
    return QuestionAnswer(pick(rng, asks), spelled(line.text))


def number_beside(rng: Generator, scene: Scene) -> QuestionAnswer:
    """The number beside a thing, in digits or in words."""
    place = int(rng.integers(len(scene.things)))
    question = f"what number is near the {called(rng, scene.things[place])} ?"
    return number_turn(rng, question, int(scene.lines[place].text))


def largest(rng: Generator, scene: Scene) -> QuestionAnswer:
    """The thing with the largest number beside it."""
    numbers = [int(line.text) for line in scene.lines]
    if numbers.count(max(numbers)) > 1:
        return number_beside(rng, scene)
    thing = scene.things[int(np.argmax(numbers))]
    return named(rng, "which has the largest number ?", thing)


def gauge(rng: Generator, scene: Scene) -> QuestionAnswer:
    """What the gauge says, as a digit or in a word."""
    assert scene.gauge is not None
    value = scene.gauge[1]
    if chance(rng, 0.5):
        return QuestionAnswer("what does the gauge say ? in a word .", level(value))
    return QuestionAnswer("what does the gauge say ?", str(value))
