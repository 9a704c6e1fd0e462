"""RELAY: one merge of adapters in closed form, from the base and a few unlabeled prompts a task."""
