"""What can be asked for: every method, its options, what it needs and what it returns.

Standard library alone; the panel lists methods before torch is installed. The code of each method
is in ``SFDALib.adaptation`` or ``SFDALib.heal``.

    registry        the methods in the order in which they are shown
    method          the description of a method
    option          one option: default, range, unit, help
    shared_options  options of inference and of training
    needs           what a method may need of a model or request
    outcome         what a method returns
    auto            the automatic choice, and its order of methods
    none            no adaptation
    heal            HEAL
    adami           AdaMI
    adaent          AdaEnt
    prior_entropy   options of AdaMI and AdaEnt
    early_features  UDAS
    bn_statistics   batch statistics
    tent            TENT
    self_training   self-training
    cbst            class-balanced self-training
    pseudo_labels   options of the two before
    dpl             DPL
    upl             UPL-SFDA
    protocontra     ProtoContra
    iapc            IAPC
    dg_tta          DG-TTA
    muvi            MuVi
    intent          InTEnt
    few_labels      fine-tuning on a few labels
"""
