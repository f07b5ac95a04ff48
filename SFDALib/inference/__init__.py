"""From a preprocessed image to class probabilities: sliding windows and mirrored copies."""
