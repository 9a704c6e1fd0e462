"""An adapter in other formats, for programs that do not read adapters; no model is run.

embedded   the base's files and the adapter in one folder, which `from_pretrained` loads as one
original   the folder that the original LLaVA code loads
full       the adapter baked into the base's weights
gguf       the file of updates that llama.cpp adds to its own file of the base
"""

from .exported import EXPORTERS, ExportReport, export_adapter

__all__ = ["EXPORTERS", "ExportReport", "export_adapter"]
