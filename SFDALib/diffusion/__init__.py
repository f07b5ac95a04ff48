"""Images drawn from masks: noise schedule, samplers, conditions, drawing of n samples.

Works on tensors and on any denoiser that predicts noise from (x, t, condition). Knows nothing of
HEAL, which orders its samples here, nor of files and bundles.
"""
