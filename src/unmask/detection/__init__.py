"""A video -> a prediction: the only way from pixels to scores."""
