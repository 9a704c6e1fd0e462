"""Statistics of the adapters' tasks, from a base model, its adapters and unlabeled samples.

The only package that runs a model. `robustmerge.peft.collect` does it on a live one, the command
`robustmerge collect` on folders.
"""
