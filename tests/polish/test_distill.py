"""A merge as a LoRA that can be trained, and what gradient steps make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factories.bases import text_batch, text_only
from factories.families import _quiet
from robustmerge.errors import MergeError
from robustmerge.factors import Factors
from robustmerge.polish.batches import answer_logits
from robustmerge.polish.distill import DistilledTask, DistillSettings, _Training, distill
from robustmerge.polish.targets import find_targets
from robustmerge.polish.trainable import TrainableMerge, balanced
from robustmerge.prompted.answers import AnsweredPrompt, continued

CPU = torch.device("cpu")
SHAPES = {"self_attn.q_proj": (64, 64), "mlp.down_proj": (64, 96)}
MODULES = [f"model.language_model.layers.{n}.{m}" for n in (0, 1) for m in SHAPES]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


def updates(seed: int, rank: int = 3, size: float = 0.15) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return size * torch.randn(*shape, generator=generator)

    shapes = {name: SHAPES[name.split(".", 4)[-1]] for name in MODULES}
    return {name: Factors(draw(rank, n), draw(m, rank)) for name, (m, n) in shapes.items()}


def merged(factors: dict[str, Factors], rank: int = 4, **options: Any) -> TrainableMerge:
    return TrainableMerge(text_only(), factors, {}, rank=rank, seed=0, **options)


def prompts(seed: int, count: int = 6) -> list[AnsweredPrompt]:
    answer = torch.tensor([7, 8, 9])
    return [
        continued(text_batch(100 * seed + n, 5 + n % 3), answer[: 1 + n % 3]) for n in range(count)
    ]


def runs(model: nn.Module) -> Callable[[Sequence[AnsweredPrompt]], list[Tensor]]:
    return lambda some: answer_logits(model, some, CPU)


def tasks(weights: Sequence[float] = (0.5, 0.5), held_out: int = 2) -> list[DistilledTask]:
    """Two tasks, whose adapters are random."""
    made = []
    for seed, weight in enumerate(weights, 1):
        model, own = merged(updates(seed, size=0.3)).model, prompts(seed)
        targets = find_targets(own, runs(model), 8)
        n = len(own) - held_out
        made.append(DistilledTask(weight, own[:n], targets[:n], own[n:], targets[n:]))
    return made


def test_the_model_computes_with_the_merge() -> None:
    factors, batch = updates(1), text_batch(3)
    base = text_only()
    for name, update in factors.items():
        base.get_submodule(name.replace("language_model.", "")).weight.data += update.dense()
    with torch.no_grad():
        wanted = base(**batch).logits
        for rank in (3, 4):  # with an empty direction, which adds nothing
            torch.testing.assert_close(
                merged(factors, rank).model(**batch).logits, wanted, atol=1e-4, rtol=1e-4
            )


def test_factors_do_not_depend_on_those_of_the_merge() -> None:
    for name, update in updates(1).items():
        turn = torch.randn(3, 3, generator=torch.Generator().manual_seed(2)).double()
        other = Factors(turn.inverse() @ update.A.double(), update.B.double() @ turn)
        one, two = balanced(update), balanced(other)
        torch.testing.assert_close(one.dense(), update.dense().double(), atol=1e-6, rtol=1e-5)
        gram = one.A @ one.A.T
        torch.testing.assert_close(gram, one.B.T @ one.B, atol=1e-6, rtol=1e-5)
        signs = (one.A * two.A).sum(1).sign()[:, None]
        torch.testing.assert_close(one.A, signs * two.A, atol=1e-4, rtol=1e-3, msg=name)


def test_nothing_merged_is_a_new_adapter() -> None:
    zero = {n: Factors(0 * f.A, f.B) for n, f in updates(1).items()}
    for factors in merged(zero).factors().values():
        assert float(factors.A.abs().min()) > 0
        assert not factors.B.any()


def test_fully_trained_parameters_are_set_and_frozen() -> None:
    value = torch.full((64,), 2.0)
    extras = {"model.language_model.norm.weight": value}
    merge = TrainableMerge(text_only(), updates(1), extras, rank=3, seed=0)
    parameters = dict(merge.model.get_base_model().named_parameters())
    assert torch.equal(parameters["model.norm.weight"].data, value)
    trained = {n for n, p in parameters.items() if p.requires_grad}
    assert len(trained) == 2 * len(MODULES)
    assert all(".lora_" in n for n in trained)
    absent = {"model.language_model.layers.7.self_attn.q_proj": updates(1)[MODULES[0]]}
    for factors, extras in ((updates(1), {"model.nom.weight": value}), (absent, {})):
        with pytest.raises(MergeError, match="the base does not have"):
            TrainableMerge(text_only(), factors, extras, rank=3, seed=0)


def test_steps_bring_the_merge_to_the_adapters() -> None:
    before = torch.get_rng_state()
    merge = merged({n: Factors(f.A, 0 * f.B) for n, f in updates(1).items()})
    result = distill(merge, tasks(), DistillSettings(60, 2e-2, 4, 0), CPU)
    assert result.losses[-1] < 0.5 * result.losses[0]
    # The merge itself, and looks at every tenth of the steps.
    assert list(result.curve)[:3] == [0, 6, 12]
    assert min(result.curve, key=result.curve.__getitem__) == result.kept > 0
    assert result.curve[result.kept] < result.curve[0]
    for name, factors in merge.factors().items():
        assert torch.equal(factors.B, result.factors[name].B)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("portion", [12, 5, 1])
def test_the_loss_is_that_of_the_definition(portion: int) -> None:
    """Σ_t v_t · mean over positions, whatever the portions of a step."""
    weights = (0.8, 0.2)
    made, start = tasks(weights, held_out=0), updates(3)
    model = merged(start).model
    wanted = 0.0
    for weight, task in zip(weights, made, strict=True):
        rows = []
        for prompt, target in zip(task.fitted, task.targets, strict=True):
            q = model(**prompt.inputs).logits[0, prompt.positions].log_softmax(-1)
            rows.append((target.log_p.exp() * (target.log_p - q)).sum(-1))
        wanted += weight * float(torch.cat(rows).mean().detach())
    settings = DistillSettings(2, 1e-3, 12, 0)  # every prompt in every step
    whole = _Training(merged(start), made, settings, CPU, 12).run(lambda: None)
    result = _Training(merged(start), made, settings, CPU, portion).run(lambda: None)
    assert abs(result.losses[0] - wanted) < 1e-4 * wanted
    assert abs(result.losses[1] - whole.losses[1]) < 1e-4 * wanted
    assert (result.done, result.kept, result.curve) == (2, 2, {})  # nothing is held out


def test_steps_that_get_no_better_are_undone() -> None:
    made, start = tasks(), updates(1)
    start = {n: Factors(f.A, 0 * f.B) for n, f in start.items()}
    merge = merged(start)
    before = merge.factors()
    result = distill(merge, made, DistillSettings(40, 3.0, 4, 0), CPU)
    assert result.kept == 0
    assert result.done == 12  # three looks in a row
    for name, factors in merge.factors().items():
        assert torch.equal(factors.A, before[name].A)


def test_activations_that_are_computed_twice_change_nothing() -> None:
    made, settings = tasks(), DistillSettings(3, 1e-2, 4, 0)
    plain = distill(merged(updates(3)), made, settings, CPU)
    again = distill(merged(updates(3), recompute=True), made, settings, CPU)
    assert plain.losses == pytest.approx(again.losses, rel=1e-5)
    assert plain.losses == distill(merged(updates(3)), made, settings, CPU).losses
    other = DistillSettings(3, 1e-2, 4, seed=1)
    assert plain.losses != distill(merged(updates(3)), made, other, CPU).losses


def test_a_loss_that_is_not_finite_is_refused() -> None:
    made = tasks(held_out=0)
    broken = DistilledTask(1.0, made[0].fitted, made[0].targets)
    broken.targets[0].log_p.fill_(float("nan"))
    with pytest.raises(MergeError, match="is nan after 0 steps") as refused:
        distill(merged(updates(3)), [broken], DistillSettings(3, 1e-3, 4, 0), CPU)
    assert "rate=" in refused.value.hint
