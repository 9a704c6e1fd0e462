"""The drawn world: its things, their images, and questions about them."""
