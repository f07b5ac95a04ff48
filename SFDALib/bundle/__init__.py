"""A source model on disk: what it holds, reading it safely, writing it.

A MONAI bundle folder, or the same as .zip, or a model of another kind that ``importers`` reads.
Does not know how a method uses it. Describing a model needs the standard library alone.

    open_model     any source model, by its path
    source_model   what every kind of source model offers
    sfda_bundle    a bundle of this software
    description    what is known of a source model
    metadata       the description as JSON, both ways
    parts          the description's parts
    labels         what is known of each structure
    spec_fields    the model's grid and preprocessing in the JSON
    typed_volumes  plausible volumes that a user types in place of the model's
    postprocessing  what can be done to a model's results at the end
    configuration  a description that a person writes
    terminology    SNOMED CT codes of segments
    bundle_files   files of a folder or .zip, bounded
    weights        tensors from a file, and nothing else
    loading        networks with their weights
    assembly       ensembles, and one probability a class
    source         a model in memory, and writing a bundle
    importers      models of nnU-Net, MONAI and others
"""
