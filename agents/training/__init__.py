"""What all algorithms share: options, batches, gradient steps, checkpoints, metrics."""
