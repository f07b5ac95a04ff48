"""Importers of models that were not trained here, one for each kind.

An importer reads the description and the weights of a model as data; no file is executed. Settings
that change the result and cannot be represented are refused by name. Describing a model needs the
standard library alone, loading its weights needs torch. To add an importer: a file here with a
``SourceModel`` and a function ``recognise``, and a line in ``open_model.IMPORTERS``.
"""
