"""Merges that are made with the base model and a few unlabeled prompts of every task."""
