"""One plain LoRA adapter from one input of another kind; no model is run.

extract   from a fully fine-tuned model and its base
"""
