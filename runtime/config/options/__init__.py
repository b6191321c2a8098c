"""The options of a recipe, one file a group. Each group is a plain class; `TrainingConfig` joins them into the one model."""
