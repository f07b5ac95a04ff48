"""The networks that a bundle may name. Knows nothing of files and volumes.

catalogue       the allow-list
build           building a network within bounds
outputs         classes and probabilities of logits
residual_unet   residual U-Net with an early head
diffusion_unet  conditional diffusion U-Net
med_ddpm        the arguments of Med-DDPM's published networks
nnunet          nnU-Net's networks
dints           MONAI's DiNTS
sfda_unet       U-Net of AdaEnt's and AdaMI's code
"""
