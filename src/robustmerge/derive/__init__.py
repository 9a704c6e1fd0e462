"""One plain LoRA adapter from one input of another kind; no model is run.

extract   from a fully fine-tuned model and its base
convert   from a PEFT adapter of another kind
"""
