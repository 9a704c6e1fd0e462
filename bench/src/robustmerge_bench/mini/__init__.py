"""The laptop benchmark: a tiny vision-language model, its experts, and merges of them."""
