r"""LiNeS: shallow layers keep little of the merge, deep layers all of it.

    Δ_l <- (α + β l / (L - 1)) Δ_l                l = 0, ..., L - 1

The first layers of a fine-tuned model carry general features that merging should leave alone, the
last ones what is the task's. Modules outside the layers get α. Layers are counted within each part
of the model (vision tower, language model).

With start=norms α is found per module as in the paper's code for several tasks, from the size of
the sum of the updates against the merge's: α = ‖Σ_t w_t Δ_t‖ / ‖Δ‖ / T; then β is still given.

Source: Wang et al., LiNeS, ICLR 2025, arXiv:2410.17146, section 4; released code, wang-kee/LiNeS.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Interval

from ..depth import Depth
from ..factors import Stack, Update
from ..linalg import concat, norm
from ._registry import step

Factor = Annotated[float, Interval(ge=0)]


@step(
    "lines",
    stage="calibrate",
    paper="Wang et al., ICLR 2025, arXiv:2410.17146",
    checked="the worked example",
)
def lines(
    update: Update,
    stack: Stack,
    *,
    depth: Depth,
    alpha: Factor = 0.2,
    beta: Factor = 0.8,
    start: Literal["alpha", "norms"] = "alpha",
) -> Update:
    """Scale by depth.

    Args:
        update: The merged update.
        stack: The updates it was merged from.
        depth: The module's position in the model.
        alpha: Factor of the first layer.
        beta: What is added for the last layer.
        start: Take alpha as given, or from the norms.
    """
    if start == "norms" and (size := norm(update)):
        alpha = norm(concat(stack)) / size / len(stack)
    if depth.layer is None or depth.layers < 2:
        return update.scaled(alpha)
    return update.scaled(alpha + beta * depth.layer / (depth.layers - 1))
