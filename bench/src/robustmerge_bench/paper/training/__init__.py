"""Experts by the paper's recipe, on transformers' Trainer, PEFT and accelerate.

    sources.py        where conversations are
    conversations.py  training files as LLaVA keeps them, checked before anything is loaded
    recipe.py         what decides the result; place.py: where and how it is computed
    wording.py        a conversation as text, and which of it is an answer
    encoding.py       that as tokens, labels and pixels; batches.py: many of them
    model.py          a base's processor, with the prompt and the frame that suit it
    families.py       what of a model is adapted, trained whole, or frozen
    start.py          where A starts, which decides what can be merged
    expert.py         the base with a LoRA on it
    fitting.py        the Trainer: order, two rates, the loss
    progress.py       what a training tells while it goes on
    checkpoints.py    going on after a stop, and refusing to go on with something else
    record.py         what a training says of itself, and the folder it leaves
    train.py          all of it: from files to an adapter's folder, whole or not at all

Memory: the base in its type (bfloat16 where the device has it), once on every device unless
DeepSpeed or FSDP divides it; the LoRA and the projector in float32 with their gradients and two
moments of AdamW (16 bytes for each of their parameters; the 7B model's 61 million take 1 GB); the
activations of one device batch, which gradient checkpointing cuts to those between layers; logits
of the answers' tokens in float32. Pictures are read when their batch is made.

Source: Zeng et al., RobustMerge, NeurIPS 2025, arXiv:2502.17159; the task script of
haotian-liu/LLaVA, v1.5, for what the paper does not say.
"""
