"""HEAL: segment a target volume better without changing the model (arXiv 2511.17958).

This room owns hierarchical denoising of the source model's prediction (`denoising`), the choice
among diffusion samples by their edges (`selection`), size-aware fusion (`fusion`) and the
pipeline that strings them. It must not know optimisers: nothing here trains or updates weights.
"""
