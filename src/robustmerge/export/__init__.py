"""An adapter in other shapes, for programs that do not read adapters: files only, no model is run.

embedded   the base's files and the adapter in one folder, which `from_pretrained` loads as one
llava      the folder that the original LLaVA code loads
full       the adapter baked into the base's weights
"""

from .exported import LAYOUTS, ExportReport, export_adapter

__all__ = ["LAYOUTS", "ExportReport", "export_adapter"]
