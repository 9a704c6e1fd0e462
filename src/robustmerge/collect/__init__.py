"""Statistics of the adapters' tasks: a base model, its adapters, unlabeled samples in; numbers out.

The only package that runs a model. `robustmerge.peft.collect` does it on a live one, the command
`robustmerge collect` on folders.
"""
