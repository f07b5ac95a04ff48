"""The networks that a bundle may name. Knows nothing of files and volumes."""
