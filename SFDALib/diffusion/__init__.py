"""Images generated from masks by a diffusion network.

Works on tensors and on any network that predicts noise from (x, t, condition). Knows nothing of
HEAL, files and bundles.

    schedule  the noise schedule
    samplers  from noise to images
    drawing   the condition of a mask, and n samples
"""
