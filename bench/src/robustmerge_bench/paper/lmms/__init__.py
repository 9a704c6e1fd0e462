"""These tasks, and merged adapters, within lmms-eval, which this package does not depend on.

manifest.py   what lmms-eval finds through the entry point: a model of the name `robustmerge`
model.py      the model: base and adapter, answering these tasks as `bench run` does
chat.py       it, answering the conversations of lmms-eval's own tasks
tasks/        the tasks' YAML files, for --include_path
docs.py       their questions, read from the folder that $MM_MERGEBENCH names
scores.py     their scores, by both protocols
"""

from pathlib import Path

TASKS = Path(__file__).parent / "tasks"
"""The folder to give to lmms-eval's --include_path."""
