"""From a recipe to an adapter: recipe, plan, run."""
