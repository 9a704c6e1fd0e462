"""The paper's benchmark, MM-MergeBench, on real models: eight seen tasks, four unseen, any engine.

    tasks/      the tasks as data
    data/       question files, predictions, references, and where they are
    scoring/    what predictions are worth, as released and as it should be
    score.py    the result of scoring one task
    answering/  models that answer, and a run that can be stopped
    training/   experts by the paper's recipe
    clip/       vision tasks on CLIP
    study/      everything at once, and its tables
    lmms/       these tasks and merged adapters within lmms-eval

Source: Zeng et al., RobustMerge, NeurIPS 2025, arXiv:2502.17159; its released scripts.
"""
