"""The benchmark's files: questions, predictions, references, and where they are."""
