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
        "blocks.py::LanguageBlocks.step",
        "output if call.added is None else output + call.added.to(output)",
        "output",
        "test_blocks.py",
    ),
    _plant(
        "the residual target is the stream itself",
        "walk.py::_SetOfModules._add",
        "y = y - before[name].flatten(0, 1)[used].float()",
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
)
