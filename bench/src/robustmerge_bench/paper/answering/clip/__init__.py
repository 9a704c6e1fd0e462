"""CLIP with LoRA on its vision encoder, on the eight vision tasks of tables 4 and 5.

templates.py  sentences about a class, for each task
model.py      CLIP with an adapter, and the head that its text encoder makes of sentences
engine.py     classes of images, as answers in a resumable run
"""
