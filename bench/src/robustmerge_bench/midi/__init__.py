"""A benchmark on pretrained parts: SmolLM2-135M-Instruct and EfficientNet-Lite0 in one LLaVA."""
