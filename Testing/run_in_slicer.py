"""The module's self-test in the real application, which fails unless every test really ran.

    Slicer --testing --no-splash --additional-module-paths SFDASegmenter
           --python-script Testing/run_in_slicer.py

Slicer's own runner calls it a success when there is no test, or when all are skipped. With
``--testing`` Slicer leaves when this returns, with a failure if any Python error occurred.
"""

from __future__ import annotations

import unittest


def run(test_case: type[unittest.TestCase]) -> None:
    """Run all tests of a class.

    Raises:
        RuntimeError: not all of them passed, or there was none.
    """
    names = unittest.defaultTestLoader.getTestCaseNames(test_case)
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(map(test_case, names)))
    if not result.wasSuccessful():
        raise RuntimeError(f"{test_case.__name__} failed; see above")
    if result.skipped:
        reasons = "; ".join(sorted({reason for _, reason in result.skipped}))
        raise RuntimeError(f"{len(result.skipped)} of {result.testsRun} tests skipped: {reasons}")
    if result.testsRun == 0:
        raise RuntimeError(f"{test_case.__name__} has no tests")
    print(f"{result.testsRun} tests passed")


def main() -> None:
    import slicer

    print(f"Slicer {slicer.app.applicationVersion}")
    if not hasattr(slicer.modules, "sfdasegmenter"):
        raise RuntimeError(
            "Slicer has not loaded the module SFDASegmenter: give its folder with "
            "--additional-module-paths, and see the messages above"
        )
    from SFDASegmenter import SFDASegmenterTest

    run(SFDASegmenterTest)


if __name__ == "__main__":
    main()
