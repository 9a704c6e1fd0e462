"""Tables 4 and 5: CLIP with LoRA on its vision encoder, on eight vision tasks.

templates.py  sentences about a class, for each task
model.py      CLIP with an adapter, and the head that its text encoder makes of sentences
answer.py     the class of every picture of a task
train.py      experts
"""
