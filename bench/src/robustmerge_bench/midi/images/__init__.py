"""Images of 224 pixels, composed of what the packages ship, with what each cell shows."""
