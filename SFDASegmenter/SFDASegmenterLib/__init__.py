"""What the module does inside Slicer; ``SFDASegmenter.py`` only registers it.

    library       where SFDALib lies, and the shipped samples
    dependencies  which Python packages are missing, and installing them with the user's consent
    worker        one process that runs the job command, its events, and its end
    request       what the user asks for, and why it cannot be done
    staging       volumes of the scene as files
    runs          one run, from the click to the nodes in the scene
    scene/        results in the scene: nodes, colours, layers and views
    panel/        the widgets, a section a file; knows all of the above
    parameters    the panel's state, kept in the scene
    protocols     what runs and panel need of processes and packages
    words         numbers, models and verdicts in the panel's words
    report_page   report.json as a page for people
    i18n          translation of texts, also outside Slicer
    copies        copies of a run's files for the user
    sample_data   the shipped samples in the module Sample Data

    self_test        the self-test, on the shipped model and volume
    self_test_steps  what the self-tests do in the panel
    self_test_dicom  the self-test of the export to DICOM SEG

Nothing here imports torch or anything else that is not in Slicer as it is installed: of SFDALib
only what is written with the standard library alone (registry, job description, inspect). Arrows
run upwards in the list down to ``parameters``; ``worker`` and ``request`` know neither Qt nor
MRML. Everything but ``panel`` works without a main window.
"""

from SFDASegmenterLib import library

library.make_importable()
