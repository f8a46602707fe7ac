"""Training: signals, methods, models, data, optimisers and the loop that trains one trial."""
