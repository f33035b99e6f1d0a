"""What verl needs to train on CPUs: a platform, and an inference server for small models."""
