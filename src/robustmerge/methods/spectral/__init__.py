"""Methods that look at singular values and at the directions that adapters share."""
