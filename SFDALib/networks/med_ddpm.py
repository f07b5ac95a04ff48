"""The arguments of Med-DDPM's two published networks (``ConditionalDiffusionUNet``).

Standard library alone.
"""

from __future__ import annotations

from typing import Any

# The "16" of the original's attention_resolutions is a down-sampling factor of image_size // 16: 8
# at 128^3, which is reached at level 4 (factors 1, 2, 4, 8, 16); 12 at 192x192x144, which is never
# reached, so that only the middle block has attention.
MED_DDPM_PRESETS: dict[str, dict[str, Any]] = {
    "med-ddpm-128": {
        "spatial_dims": 3,
        "image_channels": 1,
        "condition_channels": 2,
        "channels": [64, 64, 128, 192, 256],
        "num_res_blocks": 1,
        "attention_levels": [False, False, False, True, False],
        "num_head_channels": [0, 0, 0, 192, 256],
        "condition_encoding": "signed",
    },
    "med-ddpm-brats": {
        "spatial_dims": 3,
        "image_channels": 4,
        "condition_channels": 4,
        "channels": [64, 64, 128, 192, 256],
        "num_res_blocks": 2,
        "attention_levels": [False, False, False, False, False],
        "num_head_channels": [0, 0, 0, 0, 256],
        "condition_encoding": "exclusive",
    },
}
