"""Source models on disk: describe, check, load and write them.

``open_model`` opens an SFDA bundle (a MONAI bundle folder or .zip), or a model that one of the
``importers`` recognises, as a ``SourceModel``. Everything up to its description needs the standard
library alone; ``source``, ``loading``, ``weights`` and ``assembly`` need torch. Knows no method.
"""
