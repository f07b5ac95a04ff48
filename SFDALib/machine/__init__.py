"""The machine: devices and memory.

devices        which device computes, and its memory
main_memory    free and peak main memory
batch_size     how many patches fit into a batch
out_of_memory  errors of Python, torch and CUDA recognised
"""
