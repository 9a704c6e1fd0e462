"""Methods that minimize interference, or fit outputs on activations."""
