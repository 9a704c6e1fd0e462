"""Models that answer tasks, in a run that can be stopped and resumed.

prompts.py   prompts, word for word as in the released scripts
tokens.py    how the original LLaVA code tokenizes them
images.py    how the released scripts crop or pad an image
engine.py    requests, and the protocol of engines
engines/     transformers and PEFT; a server that speaks OpenAI's protocol
clip/        CLIP as a classifier
run.py       tasks answered into a folder
"""
