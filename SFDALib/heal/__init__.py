"""HEAL: segment a target volume better without changing the model (arXiv 2511.17958).

Nothing here trains or updates weights.

    pipeline   the steps in order: denoise, draw, select, segment, fuse
    denoising  hierarchical denoising: from the source's prediction to the pseudo-label
    selection  edge-guided selection of a diffusion sample
    fusion     size-aware fusion
"""
