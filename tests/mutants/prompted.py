"""Bugs in merges that run the base model: RELAY's answers, weights, walk and solution."""

from __future__ import annotations

from mutant import Mutant, plant


def _plant(bug: str, at: str, code: str, planted: str, test: str) -> Mutant:
    return plant(f"relay: {bug}", f"prompted/{at}", code, planted, f"tests/prompted/{test}")


PROMPTED = (
    _plant(
        "the ridge is left out",
        "solve.py::Regression._primal",
        "S.diagonal().add_(lam)",
        "S.diagonal().add_(1e-9 * lam)",
        "test_solve.py",
    ),
    _plant(
        "the dual form has a cut of its own",
        "solve.py::Regression._dual",
        "RQ * (e / (e + lam)).sqrt()",
        "RQ * (1 / (e + lam)).sqrt()",
        "test_solve.py",
    ),
    _plant(
        "the rank is cut after the solution",
        "solve.py::Regression._primal",
        "return M, F",
        "return M, M",
        "test_solve.py",
    ),
    _plant(
        "token weights count twice",
        "solve.py::Regression.add",
        "root = c.sqrt()[:, None]",
        "root = c[:, None]",
        "test_solve.py",
    ),
    _plant(
        "what a model adds between blocks is lost",
        "stacks.py::BlockStack.step",
        "output if call.added is None else output + call.added.to(output)",
        "output",
        "test_blocks.py",
    ),
    _plant(
        "the residual target is the stream itself",
        "walk.py::_SetOfModules._add",
        "y = y - before[name].flatten(0, -2)[used].float()",
        "y = y.clone()",
        "test_relay.py",
    ),
    _plant(
        "the base's own output counts as the update's",
        "walk.py::_SetOfModules._add",
        "y - _linear(base, X)",
        "y",
        "test_relay.py",
    ),
    _plant(
        "an answer's last token is an input",
        "answers.py::continued",
        "answer[:-1][None]",
        "answer[None]",
        "test_answers.py",
    ),
    _plant(
        "only one of the draws counts",
        "weights.py::_backward",
        ".square().sum(-1).mean(0)",
        ".square().sum(-1)[0]",
        "test_weights.py",
    ),
    _plant(
        "weights of the prefix count",
        "weights.py::_normalized",
        "prompt[:skip] = 0",
        "prompt[:0] = 0",
        "test_weights.py",
    ),
    _plant(
        "a tower's gradients come from the first block's input alone",
        "early.py::_go_back",
        ", *((added[n], g) for n, g in gradients.added.items())]",
        "]",
        "test_early.py",
    ),
    _plant(
        "blocks that run again on the way back count again",
        "early.py::_go_back",
        "squares.listen = False",
        "squares.listen = True",
        "test_early.py",
    ),
    _plant(
        "a tower's tokens count alike within a prompt only",
        "early.py::_normalized",
        "tokens = sum(map(len, rows))",
        "tokens = max(map(len, rows))",
        "test_early.py",
    ),
    _plant(
        "prompts of a tower without a batch share one",
        "stream.py::bundle",
        "start.hidden.ndim != 3 or len(start.hidden) != 1",
        "False",
        "test_early.py",
    ),
    _plant(
        "a walk starts from what the base gives",
        "session.py::RelaySession._walk",
        "self.model.merged()",
        "self.model.base()",
        "test_early.py",
    ),
    _plant(
        "stray prompts are measured without the spread of prompts",
        "guards.py::_whitened",
        "(1 - _SHRUNK) * spread.clamp_min(0)",
        "0 * spread",
        "test_guards.py",
    ),
    _plant(
        "a prompt is compared with a mean that it is part of",
        "guards.py::strays",
        "(means[number] * len(of) - feature) / (len(of) - 1)",
        "means[number]",
        "test_guards.py",
    ),
)
