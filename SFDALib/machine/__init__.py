"""The machine: devices, main memory, batches that fit, and running out of memory."""
