"""Looking at adapters: what they are, how they compare, whether a model and a server take them."""
