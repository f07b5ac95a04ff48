"""The command line: a file for each command or two.

Standard library alone until a command computes.

    arguments     what several commands share
    run           ``run`` and ``cohort``
    compare       ``compare``
    evaluate      ``evaluate``
    describe      ``methods`` and ``inspect``
    estimate      ``devices`` and ``estimate``
    import_model  ``import-model``
    train         ``train``
"""
