"""Tables 4 and 5: CLIP with LoRA on its vision encoder, on eight vision tasks.

templates.py  sentences about a class, for each task
model.py      CLIP with an adapter, and the head that its text encoder makes of sentences
engine.py     the class of a picture, as an answer in a resumable run like any other
recipe.py     what decides an expert
lessons.py    pictures to learn from, and their classes
fitting.py    the Trainer: order and loss
train.py      all of it: from pictures to an adapter's folder
"""
