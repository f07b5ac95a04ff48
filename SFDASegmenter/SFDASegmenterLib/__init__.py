"""What the module does inside Slicer; ``SFDASegmenter.py`` only registers it.

    library       where SFDALib lies, and the shipped samples
    dependencies  which Python packages are missing, and installing them with the user's consent
    i18n          translation where there is no Slicer
    worker        one process that runs the job command, its events, and its end
    protocols     what runs and panel need of processes and of the installer
    request       what the user asks for, and why it cannot be run
    words         numbers and reports as the texts that the panel shows
    staging       volumes of the scene as files
    runs          one run, from the click to the nodes in the scene
    scene/        results in the scene: nodes, colours, layers and views
    panel/        the widgets, a section a file; knows all of the above
    parameters    the panel's state, kept in the scene
    copies        copies of a run's files for the user
    sample_data   the shipped samples in the module Sample Data
    self_test     the tests that run in the application; self_test_dicom: export to DICOM SEG;
                  self_test_steps: what a user does in them

Nothing here imports torch or anything else that is not in Slicer as it is installed: of SFDALib
only what is written with the standard library alone (registry, job description, inspect, layout).
``panel`` uses all the others, which do not use it; ``worker`` and ``request`` know neither Qt nor
MRML. Everything but ``panel`` works without a main window.
"""

from SFDASegmenterLib import library

library.make_importable()
