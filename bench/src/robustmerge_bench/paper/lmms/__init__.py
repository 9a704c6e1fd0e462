"""These tasks, and merged adapters, within lmms-eval, which this package does not depend on.

manifest.py   the entry point of lmms-eval: a model with the name `robustmerge`
model.py      the model: base and adapter, which answers these tasks as `bench run` does
chat.py       its answers to the conversations of lmms-eval's own tasks
tasks/        the tasks' YAML files, for --include_path
docs.py       their questions, read from the folder $MM_MERGEBENCH
scores.py     their scores, by both protocols
"""

from pathlib import Path

TASKS = Path(__file__).parent / "tasks"
"""The folder to give to lmms-eval's --include_path."""
