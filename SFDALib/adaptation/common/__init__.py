"""What several adaptation methods share: the loop, model selection, losses, patches, features."""
