"""Settings of all tests."""

from __future__ import annotations

import torch
from hypothesis import settings

# The first call into torch is slow, and a shared machine is slow at times.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("steady")
torch.set_num_threads(1)
