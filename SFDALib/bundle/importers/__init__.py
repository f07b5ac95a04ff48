"""Models from elsewhere: a file or a few for each kind.

Each reads a model's description and weights as data, refuses what it cannot represent instead of
guessing, and returns what a bundle holds. Nothing of a model is executed. Describing a model needs
the standard library alone, reading its weights torch.

    common                what the importers share
    nnunet                a model folder of nnU-Net v2
    nnunet_plans          plans.json and dataset.json
    nnunet_network        the network of the plans
    nnunet_checkpoint     the weights of a fold
    nnunet_trainers       trainers that change the training alone
    monai_bundle          a published MONAI bundle
    monai_configuration   its configuration as data
    monai_expressions     the few expressions that are read
    monai_network         its network
    monai_transforms      its preprocessing
    monai_intensity       its intensity transforms
    monai_inferer         its windows
    monai_outputs         classes, regions, background
    monai_postprocessing  what makes labels of the outputs
    monai_weights         its weights
    plain_weights         a state dict with a description
    med_ddpm              Med-DDPM's published weights
    guided_diffusion      names of the guided-diffusion U-Net
"""
