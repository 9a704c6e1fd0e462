"""Models that answer, and a run that can be stopped.

prompts.py   what is asked, word for word as in the released scripts
tokens.py    how the released scripts turn that into tokens
images.py    how they crop or pad a picture
engine.py    what can answer questions
engines/     transformers and PEFT; a server that speaks OpenAI's protocol
run.py       tasks answered into a folder
"""
