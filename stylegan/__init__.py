"""TENSORS: networks, losses, training loop, checkpoints, sampling, ranking, metrics, figures."""
