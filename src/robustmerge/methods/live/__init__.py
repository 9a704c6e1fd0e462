"""Methods that run the base model; what runs them is imported when they are used."""
