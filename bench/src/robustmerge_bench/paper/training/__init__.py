"""Experts by the paper's recipe, on transformers' Trainer, PEFT and accelerate.

    recipe.py         what decides the result; device.py: where and how it is computed
    expert.py         the base with an untrained LoRA; the start of A
    families.py       what of a model is adapted, fully trained, or frozen
    conversations.py  training files in LLaVA's format, checked before anything is loaded
    sources.py        where these files are
    wording.py        a conversation as text, and which of it is an answer
    encoding.py       that as tokens, labels and pixels; batches.py: many of them, and their loss
    trainer.py        the Trainer: order, rates and settings
    progress.py       reports while it runs
    checkpoints.py    what a stopped training resumes from
    record.py         the adapter's folder: training.json and model card
    session.py        the course of every training
    train.py          experts on conversations
    clip/             experts of CLIP: their recipe, images, head and loss

Memory: the base in its type (bfloat16 where the device has it), once on every device unless
DeepSpeed or FSDP divides it; the LoRA and the projector in float32 with their gradients and two
moments of AdamW (16 bytes for each of their parameters; the 7B model's 61 million take 1 GB); the
activations of one device batch, which gradient checkpointing cuts to those between layers; logits
of the answers' tokens in float32. Images are read when their batch is made.

Source: Zeng et al., RobustMerge, NeurIPS 2025, arXiv:2502.17159; the task script of
haotian-liu/LLaVA, v1.5, for what the paper does not give.
"""
